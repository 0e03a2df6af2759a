"""Data sets: one file each; a loader takes a path and options and gives `ImageData`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lossrank.datasets.base import ImageData, check_classes, held_out, pixel_statistics
from lossrank.datasets.celeba import load_celeba
from lossrank.datasets.cifar10 import load_cifar10
from lossrank.datasets.coco import load_coco_keypoints
from lossrank.datasets.counting import CountingData
from lossrank.datasets.digits import load_digits
from lossrank.datasets.folder import load_folder, load_unlabelled
from lossrank.datasets.images import read_image
from lossrank.datasets.leeds import load_leeds
from lossrank.datasets.mpii import load_mpii
from lossrank.datasets.points import load_points
from lossrank.datasets.pose import PoseData
from lossrank.datasets.shanghaitech import load_shanghaitech
from lossrank.datasets.values import RegressionData, load_values, regression_data
from lossrank.datasets.yours import from_dataset

__all__ = [
    "DATASETS",
    "CountingData",
    "ImageData",
    "PoseData",
    "RegressionData",
    "check_classes",
    "from_dataset",
    "held_out",
    "load_celeba",
    "load_cifar10",
    "load_coco_keypoints",
    "load_digits",
    "load_folder",
    "load_leeds",
    "load_mpii",
    "load_points",
    "load_shanghaitech",
    "load_unlabelled",
    "load_values",
    "pixel_statistics",
    "read_image",
    "regression_data",
]

DATASETS: Mapping[str, Callable[..., ImageData]] = {
    "celeba": load_celeba,
    "cifar10": load_cifar10,
    "coco-keypoints": load_coco_keypoints,
    "digits": load_digits,
    "folder": load_folder,
    "leeds": load_leeds,
    "mpii": load_mpii,
    "points": load_points,
    "shanghaitech": load_shanghaitech,
    "values": load_values,
}
"""Every built-in data set by name."""
