"""Models of human pose: images [batch, 3, height, width] to one heatmap per joint, at a quarter of the image's side."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from lossrank.models.resnet import BasicBlock
from lossrank.models.resnet50 import ResNet50Trunk

__all__ = ["PoseResNet", "SmallPoseNet", "pose_resnet50", "pose_small"]


class PoseResNet(ResNet50Trunk):
    """ResNet-50, three deconvolutions of 256 channels, a 1x1 convolution: 33,999,440 parameters at 16 joints.

    Simple Baselines for Human Pose Estimation (Xiao et al., 2018), with the state-dict keys of its repository.
    Deconvolutions and the last convolution begin at N(0, 0.001), as there; the trunk as torchvision's.
    Taps: `layer1` to `layer4`; `layer4` is the last block before the deconvolutions.
    """

    def __init__(self, joints: int = 16, in_channels: int = 3) -> None:
        super().__init__(in_channels=in_channels)
        parts: list[nn.Module] = []
        for inside in (self.channels, 256, 256):
            parts += [nn.ConvTranspose2d(inside, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU(inplace=True)]
        self.deconv_layers = nn.Sequential(*parts)
        self.final_layer = nn.Conv2d(256, joints, 1)
        for module in (*parts, self.final_layer):
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)
        _zero_bias(self.final_layer)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] to heatmaps [batch, joints, height / 4, width / 4]."""
        return cast(Tensor, self.final_layer(self.deconv_layers(self.features(x))))


class SmallPoseNet(nn.Module):
    """Four residual layers down to 1/32 of the image and back up to 1/4 with a shortcut from each layer.

    Made for 128x128 pixels and two CPU cores. Where a wrist is needs the whole figure, so the deepest layer sees 4x4
    cells; where exactly, the fine grain, so each finer layer is added on the way up.
    Taps: `layer1` to `layer4`; `layer4` is the last block before the way up.

    Args:
        joints: heatmaps.
        width: channels of the stem; the layers have 2, 4, 8 and 8 times as many, the way up 4 times.
        in_channels: of the image.
    """

    def __init__(self, joints: int = 16, width: int = 16, in_channels: int = 3) -> None:
        super().__init__()
        sides, up = (2 * width, 4 * width, 8 * width, 8 * width), 4 * width
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.layer1 = BasicBlock(width, sides[0], stride=2)
        self.layer2 = BasicBlock(sides[0], sides[1], stride=2)
        self.layer3 = BasicBlock(sides[1], sides[2], stride=2)
        self.layer4 = BasicBlock(sides[2], sides[3], stride=2)
        self.lateral = nn.ModuleList(nn.Conv2d(side, up, 1) for side in sides)
        # Not at the finest level, where a 3x3 convolution would cost as much as the rest of the net.
        self.smooth = nn.ModuleList([_normed(up), *(_smooth(up) for _ in sides[1:])])
        self.final_layer = nn.Conv2d(up, joints, 1)
        nn.init.normal_(self.final_layer.weight, std=0.001)
        _zero_bias(self.final_layer)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] to heatmaps [batch, joints, height / 4, width / 4]."""
        levels = [self.layer1(self.stem(x))]
        for layer in (self.layer2, self.layer3, self.layer4):
            levels.append(layer(levels[-1]))
        y = self.smooth[3](self.lateral[3](levels[3]))
        for place in (2, 1, 0):
            finer = self.lateral[place](levels[place])
            y = self.smooth[place](finer + F.interpolate(y, size=finer.shape[2:], mode="nearest"))
        return cast(Tensor, self.final_layer(y))


def pose_resnet50(classes: int = 16, in_channels: int = 3) -> PoseResNet:
    """`PoseResNet` as a factory of the registry, where `classes` is the number of joints."""
    return PoseResNet(classes, in_channels)


def pose_small(classes: int = 14, width: int = 16, in_channels: int = 3) -> SmallPoseNet:
    """`SmallPoseNet` as a factory of the registry, where `classes` is the number of joints."""
    return SmallPoseNet(classes, width, in_channels)


def _normed(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _smooth(channels: int) -> nn.Sequential:
    return nn.Sequential(
        *_normed(channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False), *_normed(channels)
    )


def _zero_bias(layer: nn.Conv2d) -> None:
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
