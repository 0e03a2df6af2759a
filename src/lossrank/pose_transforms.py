"""Image and joints turned, scaled and mirrored together, for whole batches; and the crop of the reference code.

Simple Baselines for Human Pose Estimation (Xiao et al., 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.tasks.heatmaps import swap_joints
from lossrank.tasks.pck import HEAD_ROW
from lossrank.transforms import Normalise

__all__ = ["PoseAugment", "PoseCrop", "crop_affine", "move_joints"]

PERSON = 200.0
"""Pixels for a `scale` of 1 in MPII's annotation: about a person's height."""


def crop_affine(
    centre: Tensor, scale: Tensor, rotation: Tensor, size: tuple[int, int], *, inverse: bool = False
) -> Tensor:
    """[..., 2, 3] the map from pixels of an image to those of a crop of it, as the reference's `get_affine_transform`.

    The point `centre` goes to (width / 2, height / 2), `scale * 200` pixels to the width, and what was `rotation`
    degrees clockwise of upright becomes upright.

    Args:
        centre: [..., 2] x, y in pixels.
        scale: [...] in units of 200 pixels.
        rotation: [...] in degrees.
        size: width and height of the crop.
        inverse: from the crop to the image.
    """
    centre, scale, rotation = centre.double(), scale.double(), rotation.double()
    factor, angle = size[0] / (PERSON * scale), torch.deg2rad(rotation)
    middle = torch.tensor([size[0] / 2, size[1] / 2], dtype=torch.float64, device=centre.device)
    cos, sin = torch.cos(angle), torch.sin(angle)
    matrix = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
    if inverse:
        matrix = matrix.mT / factor[..., None, None]
        shift = centre - (matrix @ middle[:, None])[..., 0]
    else:
        matrix = matrix * factor[..., None, None]
        shift = middle - (matrix @ centre[..., None])[..., 0]
    return torch.cat([matrix, shift[..., None]], -1)


@dataclass(frozen=True)
class PoseCrop:
    """The middle of the image and its joints, and `Normalise`: what a model sees outside of training.

    Args:
        mean, std, channels_last: as in `Normalise`.
        size: height and width of the middle; None: the whole image. A pool that keeps images larger than the network
            takes lets `PoseAugment` turn and shrink them without running out of picture.
    """

    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    size: tuple[int, int] | None = None
    channels_last: bool = False

    def __post_init__(self) -> None:
        _check_size(self.size)

    def __call__(
        self, inputs: Tensor, targets: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images [batch, channels, height, width], bytes to numbers; targets [batch, rows, 3] moved along.

        Raises:
            ConfigError: the image is smaller than the middle asked for, or larger by an odd number of pixels.
        """
        height, width = self.size or inputs.shape[2:]
        spare = inputs.shape[2] - height, inputs.shape[3] - width
        if min(spare) < 0 or any(pixels % 2 for pixels in spare):
            raise ConfigError(
                f"images are {list(inputs.shape[2:])} pixels; a middle of {[height, width]} needs images of that size, "
                "or larger by an even number"
            )
        top, left = spare[0] // 2, spare[1] // 2
        inputs = inputs[:, :, top : top + height, left : left + width]
        inputs, _ = Normalise(self.mean, self.std, self.channels_last)(inputs, None)
        if any(spare) and targets.ndim == 3:
            eye = torch.eye(2, device=targets.device, dtype=targets.dtype).expand(len(targets), 2, 2)
            shift = torch.tensor([-left, -top], device=targets.device, dtype=targets.dtype).expand(len(targets), 2)
            targets = move_joints(targets, eye, shift)
        return inputs, targets


@dataclass(frozen=True)
class PoseAugment:
    """For each image a random scale, rotation and mirror image about its middle, its joints moved along.

    The reference's distributions: the picture is shrunk by `1 + scale * N(0, 1)`, at most by `1 + scale` and at least
    by `1 - scale`; it is turned by `rotation * N(0, 1)` degrees, at most by twice that, with probability
    `rotation_share`; and mirrored half of the time, left and right joints exchanged. What comes from outside the image
    has the mean colour (the reference: black).

    Args:
        mean, std, channels_last: as in `Normalise`.
        size: as in `PoseCrop`.
        scale: 0: none; below 1.
        rotation: degrees; 0: none.
        rotation_share: probability of a rotation.
        flip: whether to mirror half of the time.
        pairs: left and right joints, by place.
    """

    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    size: tuple[int, int] | None = None
    scale: float = 0.25
    rotation: float = 30.0
    rotation_share: float = 0.6
    flip: bool = True
    pairs: Sequence[tuple[int, int]] = ()
    channels_last: bool = False

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not (0 <= self.scale < 1 and self.rotation >= 0 and 0 <= self.rotation_share <= 1):
            raise ConfigError(
                f"scale is {self.scale}, rotation {self.rotation} and rotation_share {self.rotation_share}; possible "
                "are 0 up to below 1, 0 degrees or more, and 0 to 1"
            )

    def __call__(
        self, inputs: Tensor, targets: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images [batch, channels, height, width], bytes to numbers; targets [batch, rows, 3] moved along.

        Raises:
            ConfigError: no generator.
        """
        if generator is None:
            raise ConfigError("random scales, rotations and flips need a generator: none was given")
        inputs, _ = Normalise(self.mean, self.std)(inputs, None)
        matrix, mirrored = self._draw(len(inputs), generator)
        matrix, mirrored = matrix.to(inputs.device), mirrored.to(inputs.device)
        height, width = self.size or inputs.shape[2:]
        images = _resample(inputs, matrix, (height, width))
        if targets.ndim == 3:
            targets = self._moved(targets, matrix, mirrored, inputs.shape[2:], (height, width))
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images, targets

    def _draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """[batch, 2, 2] the linear map from image to result, and [batch] whether it mirrors. The same on any device."""
        place = {"generator": generator, "device": generator.device}
        normal, chance = torch.randn(2, batch, **place), torch.rand(2, batch, **place)  # type: ignore[call-overload]
        shrink = (1 + self.scale * normal[0]).clamp(1 - self.scale, 1 + self.scale)
        degrees = (self.rotation * normal[1]).clamp(-2 * self.rotation, 2 * self.rotation)
        angle = torch.where(chance[0] < self.rotation_share, degrees, 0) * (math.pi / 180)
        mirrored = chance[1] < (0.5 if self.flip else 0.0)
        cos, sin = torch.cos(angle), torch.sin(angle)
        turn = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
        sign = torch.stack([torch.where(mirrored, -1.0, 1.0), torch.ones_like(cos)], -1)
        return turn * sign[:, None, :] / shrink[:, None, None], mirrored

    def _moved(
        self, targets: Tensor, matrix: Tensor, mirrored: Tensor, before: Sequence[int], after: Sequence[int]
    ) -> Tensor:
        def middle(size: Sequence[int]) -> Tensor:
            return torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2], device=targets.device, dtype=targets.dtype)

        matrix = matrix.to(targets.dtype)
        moved = move_joints(targets, matrix, middle(after) - matrix @ middle(before))
        return torch.where(mirrored[:, None, None], swap_joints(moved, self.pairs), moved)


def move_joints(targets: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """Targets [batch, rows, 3] with x, y mapped to `matrix @ (x, y) + shift`; visibility stays.

    A row whose third entry is `HEAD_ROW` is no joint: its first entry is a length, which is scaled and not shifted.
    """
    moved = targets[..., :2] @ matrix.mT + shift[:, None, :]
    factor = torch.linalg.det(matrix.double()).abs().sqrt().to(targets.dtype)
    is_head = targets[..., 2:] == HEAD_ROW
    return torch.cat([torch.where(is_head, targets[..., :2] * factor[:, None, None], moved), targets[..., 2:]], -1)


def _resample(images: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Images mapped by `matrix` [batch, 2, 2] about their middle onto `size`; zeros where nothing is."""
    tall, wide = images.shape[2:]
    height, width = size
    back = torch.linalg.inv(matrix.double()).to(images.dtype)
    # affine_grid goes from the result to the image in units of half the side of either.
    row = torch.tensor([1 / wide, 1 / tall], device=images.device, dtype=images.dtype)
    column = torch.tensor([width, height], device=images.device, dtype=images.dtype)
    theta = F.pad(back * row[:, None] * column, (0, 1))
    grid = F.affine_grid(theta, [len(images), images.shape[1], height, width], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _check_size(size: tuple[int, int] | None) -> None:
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ConfigError(f"size must be a height and a width >= 1, got {size}")
