"""What a recipe's `task` means: the data it takes, the task built on them, and how images change in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from lossrank.config import TrainRecipe
from lossrank.counting_transforms import CountingAugment
from lossrank.datasets.base import ImageData
from lossrank.datasets.counting import CountingData
from lossrank.datasets.pose import PoseData
from lossrank.datasets.values import RegressionData
from lossrank.pool import Transform
from lossrank.pose_transforms import PoseAugment, PoseCrop
from lossrank.tasks import Classification, Counting, Pose, Regression, Task
from lossrank.transforms import Augment, Normalise

__all__ = ["KINDS", "Build", "Kind"]

Build = Callable[[torch.Generator], nn.Module]
"""Makes a model whose first weights depend on the generator alone."""


@dataclass(frozen=True)
class Kind:
    """One kind of task, as recipes name it."""

    data: type[ImageData]
    """What its data sets give."""
    task: Callable[..., Task]
    """Data, `Build`, taps, and `task_options` as keywords, to the task."""
    transforms: Callable[[TrainRecipe, Any], tuple[Transform, Transform]]
    """What training and what looking does to a batch. `train.augment` holds further fields of the first."""
    stride: int = 0
    """Pixels of the input for one of the output, where the output is a map; 0: a vector."""


def _classification(data: ImageData, build: Build, taps: tuple[str, ...], **options: Any) -> Task:
    return Classification(tuple(data.classes), build, taps, **options)


def _image_transforms(train: TrainRecipe, data: ImageData) -> tuple[Transform, Transform]:
    pixels: dict[str, Any] = {"mean": data.mean, "std": data.std}
    return Augment(padding=train.padding, flip=train.flip, **pixels, **train.augment), Normalise(**pixels)


def _pose(data: PoseData, build: Build, taps: tuple[str, ...], **options: Any) -> Task:
    known: dict[str, Any] = {"pairs": data.pairs, "links": data.links, "head": data.head, "masked": data.masked}
    return Pose(data.classes, build, taps, **{**known, **options})


def _pose_transforms(train: TrainRecipe, data: PoseData) -> tuple[Transform, Transform]:
    pixels: dict[str, Any] = {"mean": data.mean, "std": data.std, "size": data.size}
    augment = PoseAugment(flip=train.flip, pairs=data.pairs, **pixels, **train.augment)
    return cast(Transform, augment), cast(Transform, PoseCrop(**pixels))


def _counting(data: CountingData, build: Build, taps: tuple[str, ...], **options: Any) -> Task:
    return Counting(build, taps, **{"most": data.most, **options})


def _counting_transforms(train: TrainRecipe, data: CountingData) -> tuple[Transform, Transform]:
    pixels: dict[str, Any] = {"mean": data.mean, "std": data.std}
    return cast(Transform, CountingAugment(flip=train.flip, **pixels, **train.augment)), Normalise(**pixels)


def _regression(data: ImageData, build: Build, taps: tuple[str, ...], **options: Any) -> Task:
    known: dict[str, Any] = {}
    if isinstance(data, RegressionData) and data.value_mean:
        known = {"mean": data.value_mean, "std": data.value_std}
    return Regression(tuple(data.classes), build, taps, **{**known, **options})


KINDS: Mapping[str, Kind] = {
    "classification": Kind(ImageData, _classification, _image_transforms),
    "counting": Kind(CountingData, _counting, _counting_transforms, stride=4),
    "pose": Kind(PoseData, _pose, _pose_transforms, stride=4),
    "regression": Kind(RegressionData, _regression, _image_transforms),
}
"""Every kind of task by the name that recipes give it."""
