"""Transforms of whole batches: a batch in, a batch out, no loop over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.requirements import require_count
from lossrank.sources import Targets

__all__ = ["Augment", "Normalise"]


@dataclass(frozen=True)
class Normalise:
    """Bytes to numbers of about unit size: divide by 255, subtract the mean, divide by the standard deviation.

    Inputs that are not bytes are taken to be prepared already and pass unchanged, targets always do.

    Args:
        mean: of each channel on a scale of 0 to 1; empty: only divide by 255.
        std: of each channel, on the same scale.
        channels_last: memory format of the result.
    """

    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    channels_last: bool = False

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ConfigError(f"mean has {len(self.mean)} channels and std {len(self.std)}")
        if any(not value > 0 for value in self.std):
            raise ConfigError(f"std must be > 0, got {tuple(self.std)}")

    def __call__(
        self, inputs: Tensor, targets: Targets, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Targets]:
        """[batch, channels, height, width] uint8 to float32.

        Raises:
            ConfigError: the images have another number of channels than the mean.
        """
        if inputs.dtype != torch.uint8:
            return inputs, targets
        if not self.mean:
            return self._laid_out(inputs.float().div_(255)), targets
        if inputs.ndim != 4 or inputs.shape[1] != len(self.mean):
            raise ConfigError(
                f"a batch is {list(inputs.shape)}; a mean of {len(self.mean)} channels needs images "
                f"[batch, {len(self.mean)}, height, width]"
            )
        mean = torch.tensor(self.mean, device=inputs.device).view(-1, 1, 1) * 255
        scale = 1 / (torch.tensor(self.std, device=inputs.device).view(-1, 1, 1) * 255)
        return self._laid_out(inputs.float().sub_(mean).mul_(scale)), targets

    def _laid_out(self, images: Tensor) -> Tensor:
        channels_last = self.channels_last and images.ndim == 4
        return images.contiguous(memory_format=torch.channels_last) if channels_last else images


@dataclass(frozen=True)
class Augment:
    """For each image a random crop out of the zero-padded image and a random mirror image; then `Normalise`.

    The padding is black before normalising, as in the paper's 32x32 crops out of 36x36 (padding 2).

    Args:
        mean, std, channels_last: as in `Normalise`.
        padding: zero pixels on every side, of which a crop of the image's own size is taken; 0: no crop.
        flip: whether to mirror left to right, half of the time.
    """

    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    padding: int = 0
    flip: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        require_count("padding", self.padding, 0)
        self._normalise()

    def __call__(
        self, inputs: Tensor, targets: Targets, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Targets]:
        """[batch, channels, height, width] uint8 to float32; inputs without height and width are only normalised.

        Raises:
            ConfigError: there is something to draw and no generator.
        """
        if inputs.ndim == 4 and (self.padding or self.flip):
            if generator is None:
                raise ConfigError("random crops and flips need a generator: none was given")
            inputs = self._crop_and_flip(inputs, generator)
        return self._normalise()(inputs, targets)

    def _normalise(self) -> Normalise:
        return Normalise(self.mean, self.std, self.channels_last)

    def _crop_and_flip(self, images: Tensor, generator: torch.Generator) -> Tensor:
        batch, channels, height, width = images.shape
        images = F.pad(images, [self.padding] * 4)
        tall, wide = images.shape[2:]
        device = generator.device  # draws are the same wherever the images lie
        offsets = torch.randint(2 * self.padding + 1, (2, batch), generator=generator, device=device)
        top, left = offsets.to(images.device)
        begin = torch.arange(batch, device=images.device)
        if self.flip:
            heads = (torch.rand(batch, generator=generator, device=device) < 0.5).to(images.device)
            images = torch.cat([images, images.flip(3)])
            begin = begin + batch * heads
        # Where in memory each row of each crop begins; then every run of `width` pixels there is, as a view. Rows are
        # copied whole that way, several times faster than by indexing pixels.
        rows = torch.arange(height, device=images.device) * wide
        planes = torch.arange(channels, device=images.device)[:, None] * (tall * wide)
        corner = begin * (channels * tall * wide) + top * wide + left
        runs = images.view(-1).as_strided((images.numel() - width + 1, width), (1, 1))
        return runs.index_select(0, (corner[:, None, None] + planes + rows).view(-1)).view(
            batch, channels, height, width
        )
