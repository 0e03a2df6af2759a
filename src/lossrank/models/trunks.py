"""Trunks that are only read: which layers of a pretrained network give features, and the pixels it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lossrank.errors import ConfigError, unknown_name
from lossrank.models.efficientnet_lite import efficientnet_lite0
from lossrank.models.resnet import resnet18, resnet50

__all__ = ["TRUNKS", "LayerMaps", "TrunkEntry"]


class TrunkEntry(NamedTuple):
    """A network, its layers, and the mean and deviation of each channel that its weights expect, of 0 to 1."""

    build: Callable[[], nn.Module]
    vector: tuple[str, ...]
    """Layers whose pooled outputs are one vector."""
    maps: tuple[str, ...]
    """Layers whose outputs are stacked as maps, at the size of the first."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    own_weights: bool = False
    """Whether `build` brings pretrained weights."""


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TRUNKS: Mapping[str, TrunkEntry] = {
    "efficientnet_lite0": TrunkEntry(
        efficientnet_lite0, ("head",), ("layer2", "layer3", "layer4"), (127 / 255,) * 3, (128 / 255,) * 3, True
    ),
    "resnet18": TrunkEntry(resnet18, ("layer4",), ("layer2", "layer3", "layer4"), *IMAGENET),
    "resnet50": TrunkEntry(resnet50, ("layer4",), ("layer2", "layer3"), *IMAGENET),
}
"""Every built-in trunk by name."""


class LayerMaps:
    """What named layers put out, whole, in one forward pass.

    Raises:
        ConfigError: a layer does not exist; the nearest names are listed.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        self._model, self._kept = model, dict[str, Tensor]()
        modules = dict(model.named_modules())
        for layer in layers:
            if layer not in modules:
                raise ConfigError(unknown_name("layer", layer, filter(None, modules)))
        self._hooks: list[RemovableHandle] = []
        self._layers, self._modules = tuple(layers), modules
        for layer in layers:
            self._hooks.append(modules[layer].register_forward_hook(self._keep(layer)))

    def vectors(self, images: Tensor) -> Tensor:
        """[batch, channels of all layers]: each layer's mean over its map."""
        return _joined([m.mean((2, 3)) for m in self._run(images)])

    def maps(self, images: Tensor) -> Tensor:
        """[batch, channels of all layers, h, w], at the size of the first layer."""
        first, *rest = self._run(images)
        grown = [F.interpolate(m, size=first.shape[2:], mode="bilinear", align_corners=False) for m in rest]
        return _joined([first, *grown])

    def _run(self, images: Tensor) -> list[Tensor]:
        self._model(images)
        return [self._kept.pop(layer) for layer in self._layers]

    def _keep(self, layer: str) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            self._kept[layer] = output

        return keep


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts), 1)
