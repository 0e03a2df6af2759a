"""The two networks of VAAL: a convolutional variational autoencoder, and a discriminator of its latent codes."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from lossrank.errors import ConfigError

__all__ = ["VAE", "Discriminator"]

HALVINGS = 4  # of the image's sides, on the way to the code


class VAE(nn.Module):
    """Images to a Gaussian code and back (Sinha et al. 2019): 22,835,139 parameters at z = 32 and 32x32 pixels.

    Four 4x4 convolutions of stride 2 to a sixteenth of each side, a code, and from an eighth of each side three
    transposed ones and a 1x1 one back to the image, without a last nonlinearity: the state-dict keys of the authors'
    code. Theirs is fixed to 32x32 and decodes anything else into wrong shapes without a word; here the two linear
    layers follow the size, as the comments in it have it for 64x64.

    Args:
        z: numbers in a code.
        channels: of an image.
        size: pixels of an image: its side, or height and width; multiples of 16.
        width: channels of the first convolution; the next have 2, 4 and 8 times as many. 128 in the paper.

    Raises:
        ConfigError: a side is no multiple of 16, or a number is below 1.
    """

    def __init__(self, z: int = 32, channels: int = 3, size: int | tuple[int, int] = 32, width: int = 128) -> None:
        super().__init__()
        self.size = height, wide = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        step = 2**HALVINGS
        if min(height, wide) < step or height % step or wide % step:
            raise ConfigError(f"a VAE takes images whose sides are multiples of {step}; found {height}x{wide} pixels")
        if min(z, channels, width) < 1:
            raise ConfigError(f"a VAE needs z, channels and width of 1 or more; found {z}, {channels} and {width}")
        deep = width * 8
        down = [channels, width, 2 * width, 4 * width, deep]
        self.encoder = nn.Sequential(*(layer for a, b in pairwise(down) for layer in _down(a, b)), nn.Flatten())
        code = deep * (height // step) * (wide // step)
        self.fc_mu, self.fc_logvar = nn.Linear(code, z), nn.Linear(code, z)
        start = (deep, height // 8, wide // 8)
        up = [deep, 4 * width, 2 * width, width]
        self.decoder = nn.Sequential(
            nn.Linear(z, start[0] * start[1] * start[2]),
            nn.Unflatten(1, start),
            *(layer for a, b in pairwise(up) for layer in _up(a, b)),
            nn.ConvTranspose2d(width, channels, 1),
        )
        # The authors' initialisation reaches these alone; transposed convolutions, fc_mu and fc_logvar keep PyTorch's.
        for module in (*self.encoder, *self.decoder):
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the codes, both [batch, z], of images [batch, channels, height, width].

        Raises:
            ConfigError: images of another size than this VAE was made for.
        """
        if tuple(images.shape[2:]) != self.size:
            found = "x".join(map(str, images.shape[2:]))
            raise ConfigError(f"this VAE was made for {self.size[0]}x{self.size[1]} pixels; found {found}")
        hidden = self.encoder(images)
        return self.fc_mu(hidden), self.fc_logvar(hidden)

    def decode(self, code: Tensor) -> Tensor:
        """Images [batch, channels, height, width] of codes [batch, z]."""
        images: Tensor = self.decoder(code)
        return images

    def forward(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction [batch, channels, height, width], mean and log-variance [batch, z].

        Args:
            noise: [batch, z] standard normal, what turns the mean into a sample; None: the mean itself is decoded.
        """
        mu, logvar = self.encode(images)
        code = mu if noise is None else mu + noise * torch.exp(0.5 * logvar)
        return self.decode(code), mu, logvar


class Discriminator(nn.Module):
    """Codes to the probability that their image is labelled: z-512-512-1, ReLU, sigmoid; 280,065 parameters at z = 32.

    Args:
        z: numbers in a code.
    """

    def __init__(self, z: int = 32) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(z, 512), nn.ReLU(inplace=True), nn.Linear(512, 512), nn.ReLU(inplace=True), nn.Linear(512, 1)
        )
        for module in self.net:
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def logits(self, code: Tensor) -> Tensor:
        """[batch, 1] before the sigmoid, which float32 rounds to ties at either end."""
        out: Tensor = self.net(code)
        return out

    def forward(self, code: Tensor) -> Tensor:
        """[batch, 1] probability of being labelled."""
        return self.logits(code).sigmoid()


def _down(inside: int, outside: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)


def _up(inside: int, outside: int) -> tuple[nn.Module, ...]:
    return nn.ConvTranspose2d(inside, outside, 4, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
