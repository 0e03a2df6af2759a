"""Where tensors live and in which form they are computed: decided once, asked by training and collecting alike."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lossrank.config import TrainRecipe
from lossrank.errors import ConfigError
from lossrank.processes import Processes, processes

__all__ = ["Runtime"]

SAFE_CHANNELS = 16  # the numbers in a vector register of AVX-512; fewer were seen to fail, as many and more never


@dataclass(frozen=True)
class Runtime:
    """Device, memory format and precision of a run, and the processes that share it."""

    device: torch.device
    channels_last: bool = False
    precision: str = "float32"
    compile: bool = False
    processes: Processes = field(default_factory=Processes)

    @classmethod
    def of(cls, recipe: TrainRecipe) -> Runtime:
        """The runtime that a recipe asks for.

        Raises:
            ConfigError: the device does not exist here, or is not what the run's processes were started for.
        """
        here = processes()
        device = _device(recipe.device, here.device)
        precision = recipe.precision
        if precision == "auto":
            precision = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
        return cls(device, recipe.channels_last, precision, recipe.compile, here)

    def tensor(self, value: Tensor) -> Tensor:
        """The tensor on the device; images [batch, channels, height, width] in the chosen memory format."""
        images = self.channels_last and value.ndim == 4
        layout = torch.channels_last if images else torch.preserve_format
        return value.to(self.device, non_blocking=True, memory_format=layout)

    def module(self, module: nn.Module) -> nn.Module:
        """The module on the device, its convolutions in the chosen memory format.

        On a CPU some narrow convolutions keep the usual layout, in which alone they are safe (`_overruns`).
        """
        if not self.channels_last:
            return module.to(self.device)
        module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for layer in module.modules() if self.device.type == "cpu" else ():
            if _overruns(layer):
                layer.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
                layer.register_forward_pre_hook(_contiguous)
        return module

    def trained(self, module: nn.Module) -> nn.Module:
        """The module as training calls it: shared among the processes and compiled, where either was asked for."""
        module = self.processes.parallel(module)
        return torch.compile(module) if self.compile else module  # type: ignore[return-value]

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def _overruns(layer: nn.Module) -> bool:
    """Whether PyTorch 2.13 on a CPU may write beyond its memory in this layer's backward pass in channels_last.

    It does so for a strided 1x1 convolution of 2 to 15 input channels where the image is large enough; the process then
    dies, or computes with what it has overwritten (LOG.md).
    """
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.in_channels < SAFE_CHANNELS
    )


def _contiguous(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.contiguous() for value in inputs)


def _device(asked: str, given: torch.device | None) -> torch.device:
    """The device that a recipe asks for, or the one that this process was given among several."""
    if given is not None:
        if asked not in ("auto", given.type, str(given)):
            raise ConfigError(f"train.device is {asked!r}, and the processes of this run were started for {given.type}")
        return given
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    name = automatic if asked == "auto" else asked
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"train.device is {name!r}, which is not to be had here: {error}") from None
