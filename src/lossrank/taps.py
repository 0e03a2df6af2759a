"""Feature taps: what named layers of any model put out, pooled to one vector per sample."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from lossrank.errors import ConfigError, unknown_name

__all__ = ["FeatureTap", "global_average_pool"]

WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel, DDP and torch.compile put before a layer's name


def global_average_pool(features: Tensor) -> Tensor:
    """[batch, channels] from [batch, channels], [batch, channels, height, width] or [batch, tokens, channels]."""
    if features.ndim == 2:
        return features
    if features.ndim == 3:
        return features.mean(1)
    if features.ndim > 3:
        return features.flatten(2).mean(2)
    raise ConfigError(f"a layer put out {list(features.shape)}; a tap needs [batch, channels, ...]")


class FeatureTap:
    """Listens to layers and keeps what the latest forward pass put out there.

    Args:
        model: any module, also wrapped in DataParallel, DDP or torch.compile. Its state dict does not change.
        layers: dotted names as `model.named_modules()` spells them, wrappers' prefixes left out.
        stop_gradient: whether what is kept is detached from the model.

    Raises:
        ConfigError: a layer does not exist; the nearest names are listed.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], *, stop_gradient: bool = True) -> None:
        self.layers = tuple(layers)
        self.stop_gradient = stop_gradient
        self._kept: dict[str, dict[torch.device, Tensor]] = {}
        modules = {_bare(name): module for name, module in model.named_modules() if name}
        for layer in self.layers:
            if layer not in modules:
                raise ConfigError(unknown_name("layer", layer, modules))
        self._hooks = [model.register_forward_pre_hook(self._forget)]
        self._hooks += [modules[layer].register_forward_hook(_Keep(self, layer)) for layer in self.layers]

    @property
    def features(self) -> list[Tensor]:
        """One [batch, channels] float32 tensor per layer, of the latest forward pass.

        Raises:
            ConfigError: there was none, or a compiled graph older than the tap left the tap out.
        """
        silent = [layer for layer in self.layers if layer not in self._kept]
        if silent:
            raise ConfigError(
                f"no forward pass has reached {', '.join(silent)} since the tap was set. Run the model first; if it is "
                "compiled, attach before its first call, because a graph compiled earlier runs without the tap"
            )
        return [_gathered(self._kept[layer]) for layer in self.layers]

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._kept = {}

    def keep(self, layer: str, output: Any) -> None:
        """Take in what `layer` put out: a tensor, or a tuple whose first element is one."""
        tensor = output[0] if isinstance(output, tuple | list) else output
        pooled = global_average_pool(tensor.detach() if self.stop_gradient else tensor).float()
        self._kept.setdefault(layer, {})[pooled.device] = pooled

    def _forget(self, module: nn.Module, inputs: Any) -> None:
        self._kept = {}

    def __enter__(self) -> FeatureTap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # A model is copied or pickled with its hooks; features of a pass that is over have no place in the copy.
        return {**self.__dict__, "_kept": {}, "_hooks": []}


class _Keep:
    """A forward hook that knows its layer's name. A class, because a lambda cannot be pickled with the model."""

    def __init__(self, tap: FeatureTap, layer: str) -> None:
        self.tap, self.layer = tap, layer

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.tap.keep(self.layer, output)


def _gathered(parts: dict[torch.device, Tensor]) -> Tensor:
    """DataParallel runs a part of the batch on each device, in the order of their numbers."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    ordered = [parts[device] for device in sorted(parts, key=lambda d: d.index or 0)]
    return torch.cat([part.to(ordered[0].device) for part in ordered])


def _bare(name: str) -> str:
    for wrapper in WRAPPERS * 2:
        name = name.removeprefix(wrapper)
    return name
