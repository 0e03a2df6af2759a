"""Models of crowd density: images [batch, 3, height, width] to one map of heads per pixel, times a scale."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from lossrank.errors import ConfigError
from lossrank.models.resnet import BasicBlock
from lossrank.models.resnet50 import ResNet50Trunk

__all__ = ["DensityResNet", "SmallDensityNet", "counting_small", "density_resnet50"]


class DensityResNet(ResNet50Trunk):
    """ResNet-50 to layer 3 at stride 1, two 1x1 convolutions, each pixel repeated 8 x 8: 8,674,625 parameters.

    Res50 of the C-3-Framework (Gao et al., 2019). The trunk has torchvision's keys and is initialised so; the decoder
    begins at N(0, 0.01) with biases 0. Taps: `layer1` to `layer3`; `layer3` is the last block before the decoder.
    """

    stride = 1

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__((1, 2, 1), in_channels)
        self.decoder = nn.Sequential(
            nn.Conv2d(self.channels, 128, 1), nn.ReLU(inplace=True), nn.Conv2d(128, 1, 1), nn.ReLU(inplace=True)
        )
        for module in self.decoder:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] to [batch, 1, height, width], sides of any length."""
        y = F.interpolate(self.decoder(self.features(x)), scale_factor=8, mode="nearest")
        return y[..., : x.shape[2], : x.shape[3]]  # a side that 8 does not divide is rounded up by the trunk


class SmallDensityNet(nn.Module):
    """Three residual layers at a quarter, an eighth and an eighth of the image, added up at a quarter.

    Made for images of about 200 pixels and two CPU cores; the task's stride is 4. Heads are small things: the layer at
    a quarter sees one, the dilated one at an eighth sees the crowd around it.
    Taps: `layer1` to `layer3`; `layer3` is the last block before the way up.

    Args:
        width: channels of the stem; the layers have 2, 4 and 4 times as many.
        in_channels: of the image.
    """

    stride = 4

    def __init__(self, width: int = 16, in_channels: int = 3) -> None:
        super().__init__()
        sides = (2 * width, 4 * width, 4 * width)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.layer1 = BasicBlock(width, sides[0], stride=2)
        self.layer2 = BasicBlock(sides[0], sides[1], stride=2)
        self.layer3 = BasicBlock(sides[1], sides[2])
        self.up = nn.Conv2d(sides[2], sides[0], 1)
        self.decoder = nn.Sequential(
            nn.Conv2d(sides[0], sides[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(sides[0]),
            nn.ReLU(inplace=True),
            nn.Conv2d(sides[0], 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] to [batch, 1, height / 4, width / 4], rounded up."""
        fine = self.layer1(self.stem(x))
        deep = F.interpolate(self.up(self.layer3(self.layer2(fine))), size=fine.shape[2:], mode="nearest")
        return cast(Tensor, self.decoder(fine + deep))


def density_resnet50(classes: int = 1, in_channels: int = 3) -> DensityResNet:
    """`DensityResNet` as a factory of the registry.

    Raises:
        ConfigError: more than one class of things to count.
    """
    _check_one(classes)
    return DensityResNet(in_channels)


def counting_small(classes: int = 1, width: int = 16, in_channels: int = 3) -> SmallDensityNet:
    """`SmallDensityNet` as a factory of the registry; for the task, `stride: 4`.

    Raises:
        ConfigError: more than one class of things to count.
    """
    _check_one(classes)
    return SmallDensityNet(width, in_channels)


def _check_one(classes: int) -> None:
    if classes != 1:
        raise ConfigError(f"a density map counts things of one kind; the data has {classes} classes")
