"""Where tensors live and in which form they are computed: decided once, asked by training and collecting alike."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lossrank.config import TrainRecipe
from lossrank.errors import ConfigError

__all__ = ["Runtime"]


@dataclass(frozen=True)
class Runtime:
    """Device, memory format and precision of a run."""

    device: torch.device
    channels_last: bool = False
    precision: str = "float32"

    @classmethod
    def of(cls, recipe: TrainRecipe) -> Runtime:
        """The runtime that a recipe asks for.

        Raises:
            ConfigError: the device does not exist here.
        """
        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        name = automatic if recipe.device == "auto" else recipe.device
        try:
            device = torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"train.device is {name!r}, which is not to be had here: {error}") from None
        return cls(device, recipe.channels_last, recipe.precision)

    def tensor(self, value: Tensor) -> Tensor:
        """The tensor on the device; images [batch, channels, height, width] in the chosen memory format."""
        images = self.channels_last and value.ndim == 4
        layout = torch.channels_last if images else torch.preserve_format
        return value.to(self.device, non_blocking=True, memory_format=layout)

    def module(self, module: nn.Module) -> nn.Module:
        """The module on the device, its convolutions in the chosen memory format."""
        if not self.channels_last:
            return module.to(self.device)
        return module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)
