"""VAAL: ask for what an adversarially trained autoencoder can still tell apart from everything labelled."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam, Optimizer

from lossrank.errors import StrategyError
from lossrank.ledger import SampleId
from lossrank.models import VAE, Discriminator, weights_from
from lossrank.pool import Batch, Pool, Transform
from lossrank.requirements import require_count, require_number
from lossrank.signals import Signals
from lossrank.strategies.base import Scene
from lossrank.strategies.ranked import Ranked
from lossrank.transforms import Augment, Normalise

__all__ = ["VAAL", "confusion_loss", "discriminator_loss", "vae_loss"]


@dataclass(frozen=True)
class VAAL(Ranked):
    """What a discriminator is surest to be unlabelled first; the model itself has no say.

    A variational autoencoder learns to rebuild labelled and unlabelled images and to make their codes look alike; a
    discriminator learns to tell the codes apart. Both begin anew each round. Differences from the authors' code: images
    are scored in evaluation mode and unchanged (theirs are mirrored at random and scored by the batch's statistics),
    and by the logit, which has the order of the probability without its ties.
    """

    z: int = 32
    """Numbers in a code: 32 for CIFAR-10, 64 for CelebA in the papers."""
    iterations: int | None = None
    """Steps of the discriminator, with two of the autoencoder before each. None: as published, 100 passes over the
    images (39,062 for CIFAR-10), which wants a GPU; fewer is a departure that the rows of a run note."""
    batch_size: int = 128
    """Images a step, of labelled and of unlabelled each."""
    lr: float = 5e-4
    """Learning rate of Adam, for both networks."""
    beta: float = 1.0
    """Weight of the divergence of the codes from a standard normal."""
    adversary: float = 1.0
    """Weight of confusing the discriminator."""
    whole_pool: bool = True
    """Whether all that is unlabelled is learned from, as published, or the candidates alone."""
    flip: bool = True
    """Whether images are mirrored half of the time while learning."""
    width: int = 128
    """Channels of the first convolution; fewer is a departure that makes a CPU possible (16 channels, batches of 128 of
    32x32 pixels: half a second an iteration on one core; the published 128 take 6 s at batches of 32)."""
    enlarge: bool = False
    """Whether images whose sides are no multiples of 16 are enlarged to the next one; otherwise they are refused."""

    name: ClassVar[str] = "vaal"
    needs: ClassVar[frozenset[str]] = frozenset({"unlabelled"})
    makes: ClassVar[frozenset[str]] = frozenset({"unlabelled"})
    needs_images: ClassVar[bool] = True
    score: ClassVar[str | None] = "unlabelled"
    cost: ClassVar[str] = "two networks (23 million weights) trained anew by 100 passes over the pool: wants a GPU"
    paper: ClassVar[str] = "Sinha, Ebrahimi & Darrell, Variational Adversarial Active Learning, ICCV 2019"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("z", 1), ("batch_size", 2), ("width", 1), ("iterations", 1)):
            value = getattr(self, name)
            if value is not None:
                require_count(f"vaal: {name}", value, least, error=StrategyError)
        require_number("vaal: lr", self.lr, 0, above=True, error=StrategyError)

    def departures(self) -> tuple[str, ...]:
        found = []
        if self.iterations is not None:
            found.append(f"vaal trained for {self.iterations} iterations in place of 100 passes over the images")
        if self.width != 128:
            found.append(f"vaal's autoencoder begins with {self.width} channels in place of 128")
        return tuple(found)

    def make(self, scene: Scene) -> Signals:
        """`unlabelled` [N]: minus the discriminator's logit.

        Raises:
            StrategyError: fewer than two labelled samples, or inputs that are no images.
            ConfigError: sides that are no multiples of 16, without `enlarge`.
        """
        if len(scene.labelled) < 2:
            raise StrategyError(f"vaal compares with what is labelled: at least 2 samples, found {len(scene.labelled)}")
        known = frozenset(scene.labelled)
        # sorted: what is learned is a matter of ids, not of the pool's order
        free = sorted(i for i in scene.pool.ids if i not in known) if self.whole_pool else list(scene.candidates)
        if len(free) < 2:  # nothing to learn from, and nothing to choose between
            return scene.column("unlabelled", lambda batch: torch.zeros(len(batch.ids)))
        example = next(scene.labelled_pool.batches(scene.labelled, 1)).inputs
        if example.ndim != 4:
            raise StrategyError(f"vaal needs images [batch, channels, height, width]; found {list(example.shape)}")
        half = (0.5,) * example.shape[1]  # bytes to -1 .. 1
        plain, changed = (self._sized(step) for step in (Normalise(half, half), Augment(half, half, flip=self.flip)))
        pair = self._made(scene, plain(example, None, None)[0])
        iterations = self.iterations or max(1, (len(scene.labelled) + len(free)) * 100 // self.batch_size)
        labelled = endless(scene.labelled_pool, scene.labelled, self.batch_size, changed, scene.generator)
        unlabelled = endless(scene.pool, free, self.batch_size, changed, scene.generator)
        with torch.enable_grad():
            for done in range(iterations):
                self._iterate(pair, scene, labelled, unlabelled)
                scene.progress(done + 1, iterations)
        pair.vae.eval()
        pair.critic.eval()
        own = dataclasses.replace(scene, normalise=plain)
        return own.column("unlabelled", lambda batch: -pair.critic.logits(pair.vae.encode(batch.inputs)[0])[:, 0])

    def _made(self, scene: Scene, example: Tensor) -> _Pair:
        with weights_from(scene.generator):
            vae = VAE(self.z, example.shape[1], (example.shape[2], example.shape[3]), self.width)
            critic = Discriminator(self.z)
        for network in (vae, critic):
            scene.runtime.module(network).train()  # moved in place
        return _Pair(vae, critic, Adam(vae.parameters(), self.lr), Adam(critic.parameters(), self.lr))

    def _iterate(self, pair: _Pair, scene: Scene, labelled: Iterator[Batch], unlabelled: Iterator[Batch]) -> None:
        """Two steps of the autoencoder, on new images each, and one of the discriminator on those of the second."""
        images: list[Tensor] = []
        for _ in range(2):
            images = [scene.runtime.tensor(next(stream).inputs) for stream in (labelled, unlabelled)]
            loss = torch.zeros((), device=images[0].device)
            codes = []
            for some in images:
                noise = torch.randn(len(some), self.z, generator=scene.generator).to(some.device)
                rebuilt, mu, logvar = pair.vae(some, noise)
                loss = loss + vae_loss(some, rebuilt, mu, logvar, self.beta)
                codes.append(mu)
            _step(pair.vae_optimizer, loss + self.adversary * confusion_loss(*map(pair.critic.logits, codes)))
        with torch.no_grad():
            codes = [pair.vae.encode(some)[0] for some in images]
        _step(pair.critic_optimizer, discriminator_loss(*map(pair.critic.logits, codes)))

    def _sized(self, transform: Transform) -> Transform:
        """The same, and then enlarged to multiples of 16 where that is wished."""
        if not self.enlarge:
            return transform

        def enlarged(inputs: Tensor, targets: object, generator: torch.Generator | None, /) -> tuple[Tensor, object]:
            images, targets = transform(inputs, targets, generator)
            size = [-(-side // 16) * 16 for side in images.shape[2:]]
            return F.interpolate(images, size, mode="bilinear", align_corners=False), targets

        return enlarged


@dataclass(frozen=True)
class _Pair:
    """The two networks and their optimisers."""

    vae: VAE
    critic: Discriminator
    vae_optimizer: Optimizer
    critic_optimizer: Optimizer


def vae_loss(images: Tensor, rebuilt: Tensor, mu: Tensor, logvar: Tensor, beta: float = 1.0) -> Tensor:
    """Mean squared error of the pixels, plus beta times the SUM over batch and code of the divergence from a standard
    normal, as the authors' code has it."""
    divergence = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum()
    return F.mse_loss(rebuilt, images) + beta * divergence


def confusion_loss(labelled: Tensor, unlabelled: Tensor) -> Tensor:
    """What the autoencoder pays for codes that the discriminator tells apart: both shall pass for labelled.

    Args:
        labelled, unlabelled: [batch, 1] logits.
    """
    return _cross_entropy(labelled, 1.0) + _cross_entropy(unlabelled, 1.0)


def discriminator_loss(labelled: Tensor, unlabelled: Tensor) -> Tensor:
    """What the discriminator pays for mistaking one for the other; both [batch, 1] logits."""
    return _cross_entropy(labelled, 1.0) + _cross_entropy(unlabelled, 0.0)


def _cross_entropy(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _step(optimizer: Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def endless(
    pool: Pool, ids: Sequence[SampleId], batch_size: int, transform: Transform, generator: torch.Generator
) -> Iterator[Batch]:
    """Batches of one shuffled pass after another, a shorter last one left out; at most `len(ids)` samples in each."""
    while True:
        size = min(batch_size, len(ids))
        for batch in pool.batches(ids, size, transform=transform, generator=generator, shuffle=True, drop_last=True):
            if len(batch.ids) > 1:  # batch norm has nothing to say about one
                yield batch
