"""Target models: factories that take `classes=`, and the layers of each that a loss predictor may listen to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from lossrank.models.density import DensityResNet, SmallDensityNet, counting_small, density_resnet50
from lossrank.models.efficientnet_lite import EfficientNetLite0, efficientnet_lite0
from lossrank.models.pose import PoseResNet, SmallPoseNet, pose_resnet50, pose_small
from lossrank.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet18_cifar, resnet50
from lossrank.models.small import SmallCNN, small_cnn
from lossrank.models.vae import VAE, Discriminator

__all__ = [
    "MODELS",
    "VAE",
    "BasicBlock",
    "Bottleneck",
    "DensityResNet",
    "Discriminator",
    "EfficientNetLite0",
    "ModelEntry",
    "PoseResNet",
    "ResNet",
    "SmallCNN",
    "SmallDensityNet",
    "SmallPoseNet",
    "counting_small",
    "density_resnet50",
    "efficientnet_lite0",
    "pose_resnet50",
    "pose_small",
    "resnet18",
    "resnet18_cifar",
    "resnet50",
    "small_cnn",
    "weights_from",
]


class ModelEntry(NamedTuple):
    """A factory that takes `classes=` and `in_channels=`, and its taps, deepest last.

    The last tap, pooled, is what the last layer reads (`lossrank.testing.check_model`): the predictor sees no less than
    the classifier, and BADGE's gradient is that of the last layer. A model that puts out a map names the last block
    before its decoder.
    """

    build: Callable[..., nn.Module]
    taps: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")


MODELS: Mapping[str, ModelEntry] = {
    "counting_small": ModelEntry(counting_small, ("layer1", "layer2", "layer3")),
    "density_resnet50": ModelEntry(density_resnet50, ("layer1", "layer2", "layer3")),
    "efficientnet_lite0": ModelEntry(efficientnet_lite0, ("layer1", "layer2", "layer3", "head")),
    "pose_resnet50": ModelEntry(pose_resnet50),
    "pose_small": ModelEntry(pose_small),
    "resnet18": ModelEntry(resnet18),
    "resnet18_cifar": ModelEntry(resnet18_cifar),
    "resnet50": ModelEntry(resnet50),
    "small_cnn": ModelEntry(small_cnn, ("layer1", "layer2", "layer3", "pool")),
}
"""Every built-in target model by name."""


@contextmanager
def weights_from(generator: torch.Generator) -> Iterator[None]:
    """Modules built inside draw their first weights on the CPU by `generator`; the global one is left as it was.

    PyTorch's layers draw from the global CPU generator and take no other. It is lent a seed drawn from `generator`
    and gets its old state back; those of GPUs are not touched, which `torch.manual_seed` would do.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
