"""What every data set gives: a pool, held-out samples, class names, and the statistics of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lossrank.pool import Pool

__all__ = ["ImageData", "pixel_statistics"]


@dataclass(frozen=True)
class ImageData:
    """A data set, split."""

    train: Pool
    """What may be labelled."""
    test: Pool
    """Held out, to measure on."""
    classes: Sequence[str]
    mean: Sequence[float]
    """Of each channel of the training pixels, on a scale of 0 to 1."""
    std: Sequence[float]
    notes: Sequence[str] = ()
    """What a reader of the results should know about the data."""


def pixel_statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of [N, C, H, W] bytes, on a scale of 0 to 1."""
    channels = images.shape[1]
    total, squares, count = torch.zeros(channels), torch.zeros(channels), 0
    for part in images.split(4096):  # float copies of a part at a time
        pixels = part.transpose(0, 1).flatten(1).double() / 255
        total, squares = total + pixels.sum(1), squares + pixels.square().sum(1)
        count += pixels.shape[1]
    mean = total / count
    return mean.tolist(), (squares / count - mean.square()).clamp(min=1e-8).sqrt().tolist()
