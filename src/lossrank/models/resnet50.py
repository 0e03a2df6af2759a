"""The ImageNet ResNet-50 without its classifier (He et al., 2016): the trunk of the pose and the counting model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lossrank.errors import DataError, listed
from lossrank.models.resnet import Bottleneck

__all__ = ["Bottleneck", "ResNet50Trunk", "bottleneck_layer", "draw_convolutions", "load_trunk"]

DEPTHS = (3, 4, 6, 3)
WIDTHS = (64, 128, 256, 512)


class ResNet50Trunk(nn.Module):
    """Stem and `layer1` to `layer4` with torchvision's state-dict keys. Subclasses add a head behind `features`.

    Args:
        strides: of the first block of each layer; as many layers are built. `(1, 2, 2, 2)` is ResNet-50: at 256x256
            the layers put out 256x64x64, 512x32x32, 1024x16x16 and 2048x8x8. `(1, 2, 1)` stops at layer 3 and at one
            eighth of the image.
        in_channels: of the image.
    """

    def __init__(self, strides: Sequence[int] = (1, 2, 2, 2), in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layers = tuple(f"layer{number}" for number in range(1, len(strides) + 1))
        """Names of the layers, deepest last."""
        inside = 64
        for name, width, depth, stride in zip(self.layers, WIDTHS, DEPTHS, strides, strict=False):
            self.add_module(name, bottleneck_layer(inside, width, depth, stride))
            inside = width * Bottleneck.expansion
        self.channels = inside
        """Channels of the deepest layer."""
        draw_convolutions(self)

    def features(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] to the deepest layer's [batch, channels, height / s, width / s]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.layers:
            x = self.get_submodule(name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """The features."""
        return self.features(x)


def bottleneck_layer(inside: int, planes: int, depth: int, stride: int) -> nn.Sequential:
    """`depth` bottlenecks from `inside` to `4 * planes` channels; the first has the stride, on its 3x3."""
    first = Bottleneck(inside, planes, stride)
    return nn.Sequential(first, *(Bottleneck(planes * Bottleneck.expansion, planes) for _ in range(depth - 1)))


def draw_convolutions(model: nn.Module) -> None:
    """First weights as torchvision's: Kaiming's normal distribution by fan-out, for every convolution inside."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def load_trunk(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy the trunk's weights out of a state dict with torchvision's keys; classifier and heads stay as they are.

    Keys of `weights` that begin with neither `conv1`, `bn1` nor `layer` are not looked at, so `fc` may be there or not.

    Raises:
        DataError: a tensor of the trunk is missing or has another shape; the first few are named. Nothing is copied.
    """
    wanted = {k: v for k, v in model.state_dict().items() if k.startswith(("conv1.", "bn1.", "layer"))}
    if not wanted:
        raise DataError(
            f"{type(model).__name__} has no trunk with torchvision's keys conv1, bn1 and layer1..; it has "
            f"{listed(model.state_dict(), 3)}"
        )
    # Files older than PyTorch 0.4.1 lack the batch counters, which inference does not read.
    missing = [k for k in wanted if k not in weights and not k.endswith("num_batches_tracked")]
    if missing:
        raise DataError(
            f"the weights lack {len(missing)} of the {len(wanted)} tensors of the trunk: {listed(missing, 3)}; "
            f"expected are torchvision's keys, found {listed(weights, 3)}"
        )
    other = [
        f"{k} is {list(weights[k].shape)}, expected {list(v.shape)}"
        for k, v in wanted.items()
        if k in weights and weights[k].shape != v.shape
    ]
    if other:
        raise DataError(f"{len(other)} tensors of the weights have another shape: {listed(other, 3)}")
    with torch.no_grad():
        for key, tensor in wanted.items():
            if key in weights:
                tensor.copy_(weights[key])
