"""Residual networks (He et al., 2016) with torchvision's state-dict keys, and the CIFAR stem of the paper's target."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BasicBlock", "Bottleneck", "ResNet", "resnet18", "resnet18_cifar", "resnet50"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inside: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(inside, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; the stride stands on the 3x3, as in torchvision."""

    expansion = 4

    def __init__(self, inside: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        outside = planes * self.expansion
        self.conv1 = nn.Conv2d(inside, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inside, outside, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out)  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """Stem, four layers of blocks, global average pooling, a linear classifier.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: blocks in each layer.
        classes: outputs.
        width: channels of the first layer before a block's expansion; each further layer doubles them.
        in_channels: of the image.
        cifar_stem: a 3x3 convolution at stride 1 and no pooling, for images of about 32 pixels; otherwise ImageNet's
            7x7 at stride 2 with pooling. First weights are those of the respective reference: PyTorch's own with the
            CIFAR stem, Kaiming's normal distribution otherwise.
        dropout: before the classifier.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        classes: int,
        *,
        width: int = 64,
        in_channels: int = 3,
        cifar_stem: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        kernel, stride, padding = (3, 1, 1) if cifar_stem else (7, 2, 3)
        self.conv1 = nn.Conv2d(in_channels, width, kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool: nn.Module = nn.Identity() if cifar_stem else nn.MaxPool2d(3, 2, 1)
        wider = width * block.expansion
        self.layer1 = _layer(block, width, width, depths[0], stride=1)
        self.layer2 = _layer(block, wider, 2 * width, depths[1], stride=2)
        self.layer3 = _layer(block, 2 * wider, 4 * width, depths[2], stride=2)
        self.layer4 = _layer(block, 4 * wider, 8 * width, depths[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # any image size; the reference's fixed 4x4 pool fails at 64x64
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(8 * wider, classes)
        if not cifar_stem:
            _draw_as_torchvision(self)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to logits [batch, classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dropout(torch.flatten(self.avgpool(x), 1)))  # type: ignore[no-any-return]


def resnet18_cifar(classes: int = 10, width: int = 64, in_channels: int = 3, dropout: float = 0.0) -> ResNet:
    """The paper's target model on CIFAR-10: 11,173,962 parameters at the full width; images of any size."""
    return ResNet(
        BasicBlock, (2, 2, 2, 2), classes, width=width, in_channels=in_channels, cifar_stem=True, dropout=dropout
    )


def resnet18(classes: int = 1000, in_channels: int = 3, dropout: float = 0.0) -> ResNet:
    """ResNet-18 with the ImageNet stem: 11,689,512 parameters; loads torchvision's state dict."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, in_channels=in_channels, dropout=dropout)


def resnet50(classes: int = 1000, in_channels: int = 3, dropout: float = 0.0) -> ResNet:
    """ResNet-50 with the ImageNet stem: 25,557,032 parameters; loads torchvision's state dict."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes, in_channels=in_channels, dropout=dropout)


def _shortcut(inside: int, outside: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inside == outside:
        return None
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))


def _layer(
    block: type[BasicBlock] | type[Bottleneck], inside: int, planes: int, depth: int, stride: int
) -> nn.Sequential:
    first = block(inside, planes, stride)
    rest = [block(planes * block.expansion, planes) for _ in range(depth - 1)]
    return nn.Sequential(first, *rest)


def _draw_as_torchvision(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
