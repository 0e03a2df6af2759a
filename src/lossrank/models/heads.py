"""Small heads on the features of a trunk that does not learn: vectors to outputs, maps to maps."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MapHead", "VectorHead"]


class VectorHead(nn.Module):
    """Layer norm, one hidden layer, a linear layer. Tap: `layer1`, the hidden layer.

    Args:
        features: width of the input.
        classes: outputs.
        width: of the hidden layer.
        dropout: before the last layer.
    """

    taps = ("layer1",)

    def __init__(self, features: int, classes: int, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, features] to [batch, classes]."""
        return cast(Tensor, self.fc(self.dropout(self.layer1(x))))


class MapHead(nn.Module):
    """Two 3x3 convolutions, twice the size between them, a 1x1 convolution, bilinear to the wanted size.

    Taps: `layer1` at the size of the features, `layer2` at twice that.

    Args:
        features: channels of the input.
        maps: channels of the output.
        size: height and width of the output.
        width: channels of the convolutions.
        dropout: of whole channels, before the last convolution.
    """

    taps = ("layer1", "layer2")

    def __init__(self, features: int, maps: int, size: tuple[int, int], width: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.size = size
        self.layer1, self.layer2 = _convolution(features, width), _convolution(width, width)
        self.dropout = nn.Dropout2d(dropout)
        self.final_layer = nn.Conv2d(width, maps, 1)
        nn.init.normal_(self.final_layer.weight, std=0.001)  # maps are nearly empty, and so begin
        nn.init.zeros_(cast(nn.Parameter, self.final_layer.bias))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, features, h, w] to [batch, maps, height, width]."""
        x = self.layer2(F.interpolate(self.layer1(x), scale_factor=2.0, mode="nearest"))
        x = self.final_layer(self.dropout(x))
        return F.interpolate(x, size=self.size, mode="bilinear", align_corners=False)


def _convolution(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )
