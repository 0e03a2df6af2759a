"""scikit-learn's 1,797 handwritten digits of 8x8 pixels: real images that a dependency carries."""

from __future__ import annotations

from pathlib import Path

import torch

from lossrank.datasets.base import ImageData, pixel_statistics
from lossrank.pool import Pool

__all__ = ["load_digits"]

TEST_EVERY = 4  # every fourth image is held out: 450 of 1,797, spread over all the writers


def load_digits(path: Path | None = None) -> ImageData:
    """1,347 images to choose from and 450 held out; ids `digit-0000` to `digit-1796`. `path` is not used."""
    from sklearn import datasets  # a second to import: only for those who ask for digits

    bunch = datasets.load_digits()
    images = (torch.from_numpy(bunch.images) * 255 / 16).round().to(torch.uint8)[:, None]
    targets = torch.from_numpy(bunch.target).long()
    held_out = torch.arange(len(images)) % TEST_EVERY == TEST_EVERY - 1

    def part(mask: torch.Tensor) -> Pool:
        return Pool(images[mask], [f"digit-{row:04d}" for row in mask.nonzero().flatten().tolist()], targets[mask])

    mean, std = pixel_statistics(images[~held_out])
    return ImageData(part(~held_out), part(held_out), [str(digit) for digit in range(10)], mean, std)
