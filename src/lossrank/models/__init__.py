"""Target models: factories that take `classes=`, and the layers of each that a loss predictor may listen to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import nn

from lossrank.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet18_cifar, resnet50
from lossrank.models.small import SmallCNN, small_cnn

__all__ = [
    "MODELS",
    "BasicBlock",
    "Bottleneck",
    "ModelEntry",
    "ResNet",
    "SmallCNN",
    "resnet18",
    "resnet18_cifar",
    "resnet50",
    "small_cnn",
]


class ModelEntry(NamedTuple):
    """A factory and its taps, deepest last."""

    build: Callable[..., nn.Module]
    taps: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")


MODELS: Mapping[str, ModelEntry] = {
    "resnet18": ModelEntry(resnet18),
    "resnet18_cifar": ModelEntry(resnet18_cifar),
    "resnet50": ModelEntry(resnet50),
    "small_cnn": ModelEntry(small_cnn),
}
"""Every built-in target model by name."""
