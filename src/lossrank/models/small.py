"""A small convolutional network for a CPU and for images of 8 to 64 pixels."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["SmallCNN", "small_cnn"]


class SmallCNN(nn.Module):
    """Four layers of convolution, batch norm and ReLU, global average pooling, a linear classifier.

    Args:
        classes: outputs.
        width: channels of the first layer; the others have 2, 2 and 4 times as many.
        in_channels: of the image.
        strides: of the four layers. One halving suits 8 pixels.
    """

    def __init__(self, classes: int, width: int, in_channels: int, strides: tuple[int, int, int, int]) -> None:
        super().__init__()
        widths = (in_channels, width, 2 * width, 2 * width, 4 * width)
        for index, stride in enumerate(strides):
            layer = nn.Sequential(
                nn.Conv2d(widths[index], widths[index + 1], 3, stride, 1, bias=False),
                nn.BatchNorm2d(widths[index + 1]),
                nn.ReLU(inplace=True),
            )
            self.add_module(f"layer{index + 1}", layer)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to logits [batch, classes]."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.pool(x).flatten(1))  # type: ignore[no-any-return]


def small_cnn(
    classes: int = 10,
    width: int = 16,
    in_channels: int = 1,
    strides: tuple[int, int, int, int] = (1, 1, 2, 1),
) -> SmallCNN:
    """The demo's model."""
    return SmallCNN(classes, width, in_channels, strides)
