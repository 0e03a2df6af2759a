"""A small convolutional network for a CPU and for images of 8 to 64 pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SmallCNN", "small_cnn"]


class SmallCNN(nn.Module):
    """Four layers of a 3x3 convolution, batch norm and ReLU; 2x2 average pooling; a linear classifier.

    Layers halve the image (max pooling) as often as its size asks for: after the second layer always, before and
    after it while it is larger than 16 and 8 pixels. The last layer so sees 4x4 of 8x8 pixels, 7x7 of 28x28, and 8x8
    of 32x32 or 64x64. Taps: `layer1` to `layer3`, and `pool`, the [batch, 16 * width] that the classifier reads.

    Args:
        classes: outputs.
        width: channels of the first layer; the others have 2, 2 and 4 times as many.
        in_channels: of the image.
        dropout: before the classifier.
    """

    def __init__(self, classes: int, width: int = 16, in_channels: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer1 = _layer(in_channels, width)
        self.layer2 = _layer(width, 2 * width)
        self.layer3 = _layer(2 * width, 2 * width)
        self.layer4 = _layer(2 * width, 4 * width)
        # 2x2 rather than 1: the place of a stroke tells digits apart. Flat, so that a tap here keeps the four cells.
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(4 * 4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to logits [batch, classes]."""
        x = _halved(self.layer1(x), above=16)
        x = _halved(self.layer2(x), above=1)
        x = _halved(self.layer3(x), above=8)
        return self.fc(self.dropout(self.pool(self.layer4(x))))  # type: ignore[no-any-return]


def small_cnn(classes: int = 10, width: int = 16, in_channels: int = 1, dropout: float = 0.0) -> SmallCNN:
    """The demo's model: 35,258 parameters. On the 8x8 digits about 98 % from 240 random labels."""
    return SmallCNN(classes, width, in_channels, dropout)


def _layer(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


def _halved(x: Tensor, above: int) -> Tensor:
    return F.max_pool2d(x, 2) if min(x.shape[2:]) > above else x
