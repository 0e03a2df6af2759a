"""Transforms of whole batches: a batch in, a batch out, no loop over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Augment", "Normalise"]


@dataclass(frozen=True)
class Normalise:
    """Bytes to numbers: divide by 255, subtract the mean, divide by the standard deviation of each channel."""

    mean: Sequence[float]
    std: Sequence[float]

    def __call__(
        self, inputs: Tensor, targets: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """[batch, channels, height, width] uint8 to float32; anything else than bytes passes unchanged."""
        if inputs.dtype != torch.uint8:
            return inputs, targets
        mean = torch.tensor(self.mean).view(-1, 1, 1) * 255
        scale = 1 / (torch.tensor(self.std).view(-1, 1, 1) * 255)
        return inputs.float().sub_(mean).mul_(scale), targets


@dataclass(frozen=True)
class Augment:
    """A random crop from the zero-padded image, a random mirror image, then `Normalise`."""

    mean: Sequence[float]
    std: Sequence[float]
    padding: int = 0
    """Zero pixels on every side; the paper crops 32x32 out of 36x36."""
    flip: bool = False

    def __call__(
        self, inputs: Tensor, targets: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `Normalise`, every image cropped and mirrored by itself."""
        if inputs.ndim == 4:
            inputs = self._crop_and_flip(inputs, generator)
        return Normalise(self.mean, self.std)(inputs, targets)

    def _crop_and_flip(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        if not (self.padding or self.flip):
            return images
        batch, channels, height, width = images.shape
        rows = torch.arange(height).repeat(batch, 1)
        columns = torch.arange(width).repeat(batch, 1)
        if self.padding:
            shift = torch.randint(2 * self.padding + 1, (2, batch, 1), generator=generator)
            rows, columns = rows + shift[0], columns + shift[1]
        if self.flip:
            mirrored = torch.rand(batch, 1, generator=generator) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        padded = F.pad(images, [self.padding] * 4)
        picked = torch.arange(batch)[:, None, None]
        # Advanced indices around a slice put the channels last in memory: one gather, and the layout that
        # channels_last wants anyway.
        return padded[picked, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
