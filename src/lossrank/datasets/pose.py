"""What data sets of human pose share: `PoseData`, people as crops of pictures, names of joints to left and right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lossrank.datasets.base import ImageData
from lossrank.decoding import THREADS, open_image, upright_size, white_of
from lossrank.errors import ConfigError, DataError, listed
from lossrank.ledger import SampleId
from lossrank.pool import Pool, UnreadableSample
from lossrank.sources import InMemory
from lossrank.tasks.pck import HEAD_ROW

__all__ = ["FILL", "IMAGENET_MEAN", "IMAGENET_STD", "Box", "Person", "PoseData", "mirror_pairs", "people_pool"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILL = (124, 116, 104)
"""ImageNet's mean colour, where a crop reaches beyond its picture."""
IN_MEMORY = 2 << 30  # bytes of pixels up to which crops are made once and kept
FARTHEST = 10
"""A box or a joint that reaches farther than so many times the longer side of its picture is a mistake."""
CANVAS = 4096  # side in pixels of the largest square that a crop is scaled from at once


@dataclass(frozen=True)
class PoseData(ImageData):
    """A data set of poses, split. `classes` are the joints' names; a target is as `lossrank.tasks.Pose` describes."""

    pairs: Sequence[tuple[int, int]] = ()
    """Left and right joints, by place."""
    links: Sequence[tuple[int, int]] = ()
    """Joints that a limb joins, by place, for pictures."""
    head: tuple[int, int] | None = None
    """The two joints whose distance is the head size; None: each target holds it in a last row."""
    masked: Sequence[int] = ()
    """Joints that the metric leaves out."""
    size: tuple[int, int] | None = None
    """Height and width that the network takes out of the middle of a larger picture; None: all of it."""


@dataclass(frozen=True)
class Box:
    """A square in a picture: left, top and side in pixels, where the first pixel reaches from 0 to 1."""

    left: float
    top: float
    side: float

    @classmethod
    def around(cls, joints: Tensor, share: float = 1.25) -> Box:
        """`share` times the longer side of the smallest upright box around x, y [joints, 2], about its middle."""
        low, high = joints.amin(0), joints.amax(0)
        side = max(share * float((high - low).max()), 2.0)
        x, y = ((low + high + 1) / 2).tolist()
        return cls(x - side / 2, y - side / 2, side)

    @classmethod
    def of_scale(cls, centre: tuple[float, float], scale: float, pixels: int, kept: int | None = None) -> Box:
        """The reference's square of `scale * 200` pixels about `centre`, which maps to pixel `pixels / 2` of the crop.

        Args:
            pixels: side of the crop that the square becomes.
            kept: side of a larger crop about the same middle, at the same pixels per pixel; `pixels` if not given.
        """
        unit = 200.0 * scale / pixels
        # An index counts from the middle of the first pixel: half a pixel of the picture, half a pixel of the crop.
        side = unit * (kept or pixels)
        left, top = (place + 0.5 - unit * (0.5 + (kept or pixels) / 2) for place in centre)
        return cls(left, top, side)

    def inside(self, joints: Tensor, pixels: int) -> Tensor:
        """x, y [joints, 2] of the picture as those of the crop scaled to `pixels`."""
        corner = torch.tensor([self.left, self.top], dtype=joints.dtype)
        return (joints + 0.5 - corner) * (pixels / self.side) - 0.5

    def outside(self, joints: Tensor, pixels: int) -> Tensor:
        """x, y [joints, 2] of the crop scaled to `pixels` as those of the picture. The inverse of `inside`."""
        corner = torch.tensor([self.left, self.top], dtype=joints.dtype)
        return (joints + 0.5) * (self.side / pixels) + corner - 0.5


@dataclass(frozen=True)
class Person:
    """Somebody in a picture."""

    id: SampleId
    file: Path
    joints: Tensor
    """[joints, 3] x, y in pixels of the picture, the first being 0, and visibility 0 or 1."""
    box: Box | None = None
    """What of the picture is shown; None: the square around the visible joints, or the middle one without any."""
    head: float | None = None
    """Head size in pixels of the picture; NaN where it is not known; None where joints tell it."""
    trouble: str | None = None
    """Why the person cannot be used; None where nothing is known against it."""

    def where(self, size: tuple[int, int]) -> Box:
        """What is shown of a picture of this width and height."""
        if self.box is not None:
            return self.box
        xy = self.joints[self.joints[:, 2] > 0, :2]
        xy = xy[xy.isfinite().all(1)]
        if len(xy):
            return Box.around(xy)
        side = max(size)
        return Box((size[0] - side) / 2, (size[1] - side) / 2, side)

    def check(self, size: tuple[int, int]) -> None:
        """Refuse a box or joints that are not of a picture of this width and height.

        Raises:
            UnreadableSample: with the reason, as for a picture that cannot be read.
        """
        box, longer = self.where(size), max(size)
        picture = f"its picture of {size[0]} x {size[1]} pixels"
        if not all(math.isfinite(value) for value in (box.left, box.top, box.side)) or box.side <= 0:
            raise UnreadableSample(f"the box {box.left:g}, {box.top:g} with a side of {box.side:g} is none")
        if box.side > FARTHEST * longer:
            raise UnreadableSample(f"a box with a side of {box.side:g} is more than {FARTHEST} times {picture}")
        inside = box.left < size[0] and box.top < size[1] and box.left + box.side > 0 and box.top + box.side > 0
        if not inside:
            raise UnreadableSample(f"the box at {box.left:g}, {box.top:g} lies outside {picture}")
        seen = self.joints[self.joints[:, 2] > 0, :2]
        far = (seen < -FARTHEST * longer) | (seen > FARTHEST * longer)
        if far.any():
            x, y = seen[far.any(1)][0].tolist()
            raise UnreadableSample(f"the joint at {x:g}, {y:g} lies far outside {picture}")

    def target(self, size: tuple[int, int], pixels: int) -> Tensor:
        """[joints, 3], and a row for the head size where there is one, in pixels of the crop."""
        box = self.where(size)
        joints = torch.cat([box.inside(self.joints[:, :2].double(), pixels), self.joints[:, 2:].double()], 1)
        if self.head is not None:
            row = torch.tensor([[self.head * pixels / box.side, 0.0, HEAD_ROW]], dtype=torch.float64)
            joints = torch.cat([joints, row])
        return joints.float()


def people_pool(
    people: Sequence[Person],
    pixels: int,
    max_memory: int = IN_MEMORY,
    workers: int = 0,
    white: float | None = None,
) -> Pool:
    """A pool of square crops [3, pixels, pixels] of bytes with their targets.

    Pictures that cannot be read are left out and listed in the pool's `unreadable`.

    Args:
        max_memory: bytes up to which crops are made once and kept; beyond, they are made for each batch.
        workers: processes that read ahead where crops are made for each batch.
        white: the grey of more than 8 bits that is white; that of these people's pictures together if not given.

    Raises:
        DataError: no people, ids that repeat, or not one picture that can be read.
        ConfigError: a size below 1.
    """
    if pixels < 1:
        raise ConfigError(f"image_size must be an integer >= 1, got {pixels!r}")
    if not people:
        raise DataError("there is nobody in this part of the data set")
    crops = _Crops(people, pixels, white or white_of(dict.fromkeys(person.file for person in people)))
    targets = torch.stack([crops.target(row) for row in range(len(people))])
    if len(people) * 3 * pixels**2 > max_memory:
        return Pool(crops, targets=targets, workers=workers)
    images = torch.zeros(len(people), 3, pixels, pixels, dtype=torch.uint8)

    def read(row: int) -> None:
        if people[row].id in crops.unreadable:
            return
        try:
            images[row] = crops[row][0]
        except UnreadableSample as why:
            crops.unreadable[people[row].id] = str(why)

    with ThreadPoolExecutor(THREADS) as threads:  # Pillow lets go of the interpreter while it decodes
        list(threads.map(read, range(len(people))))
    if len(crops.unreadable) == len(people):
        reasons = (f"{i} ({why})" for i, why in crops.unreadable.items())
        raise DataError(f"none of the {len(people)} pictures can be read: {listed(reasons, 3)}")
    return Pool(InMemory(images, crops.ids, targets, crops.unreadable))


def mirror_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Places of the joints whose names differ in `left` and `right` alone, or in a first letter l and r."""
    places = {name.lower(): place for place, name in enumerate(names)}
    pairs = []
    for name, place in places.items():
        others = [name.replace("left", "right")] if "left" in name else []
        others += ["r" + name[1:]] if name.startswith("l") else []
        partner = next((places[other] for other in others if other in places), None)
        if partner is not None:
            pairs.append((place, partner))
    return tuple(pairs)


class _Crops:
    """A map-style data set of (crop, target)."""

    def __init__(self, people: Sequence[Person], pixels: int, white: float | None) -> None:
        self.people, self.pixels, self.white = people, pixels, white
        self.ids = [person.id for person in people]
        self.unreadable: dict[SampleId, str] = {p.id: p.trouble for p in people if p.trouble is not None}

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        person = self.people[row]
        if person.trouble is not None:
            raise UnreadableSample(person.trouble)
        with open_image(person.file, white=self.white) as image:
            person.check(image.size)
            return _cut(image, person.where(image.size), self.pixels), person.target(image.size, self.pixels)

    def target(self, row: int) -> Tensor:
        """The target alone; of a picture, no more than its size is read, and that only where nobody marked a joint."""
        person = self.people[row]
        size = (1, 1)
        if person.box is None and not bool((person.joints[:, 2] > 0).any()):
            try:
                size = upright_size(person.file)
            except UnreadableSample as why:
                self.unreadable[person.id] = str(why)
        return person.target(size, self.pixels)


def _cut(image: Image.Image, box: Box, pixels: int) -> Tensor:
    """[3, pixels, pixels] bytes of the box; beyond the picture lies `FILL`.

    A box of more than 4,096 pixels is cut out of the picture reduced, so that a crop never needs more memory.
    """
    factor = math.ceil(box.side / CANVAS)
    if factor > 1:
        image = image.reduce(factor)
        box = Box(box.left / factor, box.top / factor, box.side / factor)
    left, top = math.floor(box.left), math.floor(box.top)
    right, bottom = math.ceil(box.left + box.side), math.ceil(box.top + box.side)
    canvas = Image.new("RGB", (right - left, bottom - top), FILL)
    part = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    if part[0] < part[2] and part[1] < part[3]:
        canvas.paste(image.crop(part), (part[0] - left, part[1] - top))
    x, y = box.left - left, box.top - top
    crop = canvas.resize((pixels, pixels), Image.Resampling.BILINEAR, (x, y, x + box.side, y + box.side))
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1).contiguous()
