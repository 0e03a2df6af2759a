"""Image and heads mirrored and cropped together, for whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.tasks.counting import HEAD
from lossrank.transforms import Normalise

__all__ = ["CountingAugment", "mirror_heads"]


@dataclass(frozen=True)
class CountingAugment:
    """For each image a random crop, if asked, and a random mirror image, its heads moved along; then `Normalise`.

    The reference mirrors and does not crop.

    Args:
        mean, std, channels_last: as in `Normalise`.
        flip: whether to mirror left to right, half of the time.
        crop: height and width of the part of each image that is kept; heads outside are left out. None: all of it.
    """

    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    flip: bool = True
    crop: Sequence[int] | None = None
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.crop is not None and (len(self.crop) != 2 or min(self.crop) < 1):
            raise ConfigError(f"crop must be a height and a width >= 1, got {list(self.crop)}")

    def __call__(
        self, inputs: Tensor, targets: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images [batch, channels, height, width], bytes to numbers; targets [batch, most, 3] moved along.

        Raises:
            ConfigError: there is something to draw and no generator, or an image is smaller than the crop.
        """
        if (self.flip or self.crop) and generator is None:
            raise ConfigError("random crops and flips need a generator: none was given")
        if self.crop is not None and generator is not None:
            inputs, targets = self._cropped(inputs, targets, generator)
        if self.flip and generator is not None:
            drawn = torch.rand(len(inputs), generator=generator, device=generator.device) < 0.5
            mirrored = drawn.to(inputs.device)
            width = inputs.shape[3]
            inputs = torch.where(mirrored[:, None, None, None], inputs.flip(3), inputs)
            targets = torch.where(mirrored[:, None, None], mirror_heads(targets, width), targets)
        inputs, _ = Normalise(self.mean, self.std, self.channels_last)(inputs, None)
        return inputs, targets

    def _cropped(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        height, width = self.crop or ()
        spare = images.shape[2] - height, images.shape[3] - width
        if min(spare) < 0:
            raise ConfigError(f"images are {list(images.shape[2:])} pixels, smaller than the crop of {[height, width]}")
        chance = torch.rand(2, len(images), generator=generator, device=generator.device)
        top, left = ((part * (room + 1)).long().clamp(max=room) for part, room in zip(chance, spare, strict=True))
        corners = zip(images, top.tolist(), left.tolist(), strict=True)
        images = torch.stack([image[:, t : t + height, x : x + width] for image, t, x in corners])
        return images, _windowed(targets, torch.stack([left, top], 1).to(targets), (width, height), spare)


def mirror_heads(targets: Tensor, width: int) -> Tensor:
    """Targets [batch, most, 3] of the mirror image.

    A head goes to the first corner of the pixel that mirrors its own, so that the density map of the result is the
    mirror image of the density map, exactly.
    """
    return torch.cat([width - 1 - targets[..., :1].floor(), targets[..., 1:]], -1)


def _windowed(targets: Tensor, corner: Tensor, size: tuple[int, int], spare: tuple[int, int]) -> Tensor:
    """Targets of the part of each image that begins at `corner` [batch, 2] and is `size`, width and height, large."""
    # A head beyond the image's border is at the border, which decides whether the part holds it.
    limits = corner.new_tensor([size[0] + spare[1] - 1, size[1] + spare[0] - 1])
    moved = targets[..., :2].clamp(min=corner.new_zeros(2), max=limits) - corner[:, None]
    pixel = moved.floor()
    outside = ((pixel < 0) | (pixel >= corner.new_tensor(size))).any(-1) & (targets[..., 2] == HEAD)
    return torch.where(outside[..., None], 0, torch.cat([moved, targets[..., 2:]], -1))
