"""What data sets of crowds share: `CountingData`, pictures with points, scaled together, of one size or of many."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lossrank.datasets.base import ImageData, pixel_statistics
from lossrank.decoding import THREADS, open_image, upright_size, white_of
from lossrank.errors import ConfigError, DataError, listed
from lossrank.ledger import SampleId
from lossrank.pool import Pool, UnreadableSample
from lossrank.sources import InMemory, MapStyle
from lossrank.tasks.counting import HEAD, UNKNOWN

__all__ = ["CountingData", "Picture", "Scale", "counting_data"]

IN_MEMORY = 2 << 30  # bytes of pixels up to which pictures are decoded once and kept
MOST = 1 << 16  # heads from which on a picture's annotation is a mistake, and a target would fill the memory
LEAST_MOST = 1024  # heads that an answer may have, even where no picture of the data has as many
SAMPLED = 1 << 14  # pixels of a picture that mean and deviation are taken from


@dataclass(frozen=True)
class CountingData(ImageData):
    """A data set of crowds, split. A target is as `lossrank.tasks.Counting` describes."""

    most: int = 4096
    """Rows of a target: the heads that an image can have."""


@dataclass(frozen=True)
class Picture:
    """A picture and its heads."""

    id: SampleId
    file: Path | bytes
    """The file, or all its bytes."""
    points: Tensor | None
    """[heads, 2] x, y in pixels of the picture, upright as its EXIF data say; the first pixel is 0. None where nobody
    has looked."""


@dataclass(frozen=True)
class Scale:
    """The size at which pictures are shown; their heads are scaled along, and counts stay what they are.

    Args:
        height: scale to this height, the width in proportion. None: as they are.

    Raises:
        ConfigError: a height below 1.
    """

    height: int | None = None

    def __post_init__(self) -> None:
        if self.height is not None and self.height < 1:
            raise ConfigError(f"image_height must be an integer >= 1, got {self.height!r}")

    def size(self, original: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a picture shown, from its own."""
        if self.height is None:
            return original
        return max(1, round(original[0] * self.height / original[1])), self.height

    def points(self, points: Tensor, original: tuple[int, int]) -> Tensor:
        """[heads, 2] in pixels of the picture shown: where the middle of a pixel goes, from its own."""
        factor = torch.tensor(self.size(original), dtype=torch.float64) / torch.tensor(original, dtype=torch.float64)
        return (points.double() + 0.5) * factor - 0.5


def counting_data(
    parts: Sequence[Sequence[Picture]],
    scale: Scale,
    notes: Sequence[str],
    *,
    statistics: tuple[Sequence[float], Sequence[float]] | None = None,
    max_memory: int = IN_MEMORY,
    workers: int = 0,
) -> CountingData:
    """Pictures to choose from and pictures to measure on, as a data set.

    Pictures that cannot be read are left out and listed in the pools' `unreadable`. Heads without finite coordinates
    are left out; heads outside their picture count at its border. The notes say how many there are of each.

    Args:
        parts: the two of them.
        statistics: mean and deviation of each channel; those of the pictures to choose from if not given.
        max_memory: bytes up to which pictures are decoded once and kept; beyond, they are read for each batch.
        workers: processes that read ahead where pictures are read for each batch.

    Raises:
        DataError: a part without pictures, or of which none can be read; ids that repeat.
    """
    if not all(parts):
        raise DataError(f"there are {len(parts[0])} pictures to choose from and {len(parts[1])} to measure on")
    white = white_of(picture.file for part in parts for picture in part)
    shown = [_Shown(part, scale, white) for part in parts]
    most = max(LEAST_MOST, *(2 * len(points) for part in shown for points in part.points if points is not None))
    train, test = (_pool(part, most, max_memory // 2, workers) for part in shown)
    statistics = statistics or _statistics(train)
    return CountingData(train, test, ("head",), *statistics, (*notes, *_oddities(shown)), most=most)


class _Shown:
    """A map-style data set of (picture, target); sizes and targets are known without decoding."""

    def __init__(self, pictures: Sequence[Picture], scale: Scale, white: float | None) -> None:
        self.pictures, self.white = pictures, white
        self.ids = [picture.id for picture in pictures]
        self.unreadable: dict[SampleId, str] = {}
        self.sizes: list[tuple[int, int]] = []
        self.points: list[Tensor | None] = []
        self.nowhere = self.beyond = 0
        self.targets = torch.empty(0)
        for picture in pictures:
            original = (1, 1)
            try:
                original = upright_size(picture.file)
                if picture.points is not None and len(picture.points) > MOST:
                    raise UnreadableSample(f"{len(picture.points)} heads are more than {MOST}")
            except UnreadableSample as why:
                self.unreadable[picture.id] = str(why)
            self.sizes.append(scale.size(original))
            usable = picture.points is not None and len(picture.points) <= MOST
            self.points.append(self._placed(picture, scale, original) if usable else None)
        if len(self.unreadable) == len(pictures):
            reasons = (f"{i} ({why})" for i, why in self.unreadable.items())
            raise DataError(f"none of the {len(pictures)} pictures can be read: {listed(reasons, 3)}")

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.image(row), self.targets[row]

    def image(self, row: int) -> Tensor:
        """[3, height, width] bytes."""
        image = open_image(self.pictures[row].file, white=self.white)
        if image.size != self.sizes[row]:
            image = image.resize(self.sizes[row], Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()

    def _placed(self, picture: Picture, scale: Scale, original: tuple[int, int]) -> Tensor:
        assert picture.points is not None
        finite = picture.points[picture.points.isfinite().all(1)]
        self.nowhere += len(picture.points) - len(finite)
        if picture.id not in self.unreadable:
            edge = torch.tensor(original, dtype=finite.dtype)
            self.beyond += int(((finite < -1) | (finite > edge)).any(1).sum())
        return scale.points(finite, original)


class _Held:
    """The same, decoded and kept."""

    def __init__(self, shown: _Shown, images: Sequence[Tensor]) -> None:
        self.shown, self.images = shown, images
        self.unreadable = shown.unreadable

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.images[row], self.shown.targets[row]


def _pool(shown: _Shown, most: int, max_memory: int, workers: int) -> Pool:
    shown.targets = _targets(shown.points, most)
    sizes = {size for size, sample in zip(shown.sizes, shown.ids, strict=True) if sample not in shown.unreadable}
    mixed = len(sizes) > 1
    if sum(3 * width * height for width, height in shown.sizes) > max_memory:
        return Pool(MapStyle(shown, shown.ids, shown.targets, workers=workers, mixed_sizes=mixed))
    ((width, height), *_) = sizes
    images = [torch.empty(0)] * len(shown) if mixed else torch.zeros(len(shown), 3, height, width, dtype=torch.uint8)

    def read(row: int) -> None:
        if shown.ids[row] not in shown.unreadable:
            try:
                images[row] = shown.image(row)
            except UnreadableSample as why:
                shown.unreadable[shown.ids[row]] = str(why)

    with ThreadPoolExecutor(THREADS) as threads:  # Pillow lets go of the interpreter while it decodes
        list(threads.map(read, range(len(shown))))
    if isinstance(images, Tensor):
        return Pool(InMemory(images, shown.ids, shown.targets, shown.unreadable))
    return Pool(MapStyle(_Held(shown, images), shown.ids, shown.targets, mixed_sizes=True))


def _targets(points: Sequence[Tensor | None], most: int) -> Tensor:
    """[pictures, most, 3]"""
    targets = torch.zeros(len(points), most, 3)
    for target, found in zip(targets, points, strict=True):
        if found is None:
            target[0, 2] = UNKNOWN
        else:
            target[: len(found), :2] = found
            target[: len(found), 2] = HEAD
    return targets


def _statistics(pool: Pool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of evenly spread pixels of up to 200 pictures, as many of each."""
    taken = []
    for batch in pool.batches(pool.ids[:: max(1, len(pool) // 200)], 1):
        pixels = batch.inputs[0].flatten(1)
        places = torch.linspace(0, pixels.shape[1] - 1, SAMPLED, dtype=torch.float64).round().long()
        taken.append(pixels[:, places][:, None])
    return pixel_statistics(torch.stack(taken))


def _oddities(parts: Sequence[_Shown]) -> list[str]:
    blank = sum(points is None for part in parts for points in part.points)
    nowhere, beyond = sum(part.nowhere for part in parts), sum(part.beyond for part in parts)
    told = {
        f"{blank} pictures have no annotation: they weigh nothing": blank,
        f"{nowhere} heads without finite coordinates are left out": nowhere,
        f"{beyond} heads more than a pixel outside their picture count at its border": beyond,
    }
    return [note for note, count in told.items() if count]
