"""What decides a pretrained sorter: the reference's settings, and those that get there in minutes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from lossrank.errors import ConfigError
from lossrank.requirements import require_count

__all__ = ["PretrainSettings", "fast_settings", "learning_rate_share"]


@dataclass(frozen=True)
class PretrainSettings:
    """Everything that decides the weights. Two equal settings give equal weights on one machine and thread."""

    length: int = 64
    """Values in a list."""
    sorter: str = "gru_constrained"
    """A name in SORTERS."""
    epochs: int = 400
    sequences: int = 360_000
    """Lists of one epoch, all new."""
    batch: int = 256
    learning_rate: float = 1e-3
    schedule: Literal["halving", "cosine"] = "halving"
    """halving: x 0.5 every 70 epochs (the reference). cosine: to zero at the last step."""
    warm_up: int = 0
    """Steps over which the learning rate rises to its full value."""
    clip: float | None = None
    """Largest norm of the gradient."""
    first_weights: Literal["torch", "counting"] = "torch"
    """counting: the first layer counts (lossrank.ranking.counting); only for gru_constrained."""
    validation: int = 40_000
    """Lists that are never trained on; the epoch with the lowest L1 on them is kept."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("length", "epochs", "sequences", "batch", "validation"):
            require_count(name, getattr(self, name))
        if self.first_weights == "counting" and self.sorter != "gru_constrained":
            raise ConfigError(f"counting first weights are for gru_constrained; asked for sorter {self.sorter!r}")

    @property
    def steps(self) -> int:
        """Optimiser steps of an epoch."""
        return math.ceil(self.sequences / self.batch)


def fast_settings(length: int, *, seed: int = 0, **changes: Any) -> PretrainSettings:
    """Settings that reach a mixture L1 below .02 (.01 at length 4) in minutes on one core: see LOG.md.

    Small batches, a learning rate thirty times the reference's that falls to zero, first weights that count.
    `changes` are fields of PretrainSettings.
    """
    short = length <= 8
    fast = PretrainSettings(
        length=length,
        epochs=40,
        sequences=12_800 if short else 6_400,
        batch=128 if short else 64,
        learning_rate=8e-3 if short else 3e-2,
        schedule="cosine",
        warm_up=100,
        clip=1.0,
        first_weights="counting",
        validation=4_000,
        seed=seed,
    )
    return replace(fast, **changes)


def learning_rate_share(settings: PretrainSettings, epoch: int, step: int) -> float:
    """The learning rate of a step, as a share of the full one."""
    done = epoch * settings.steps + step
    rise = min(1.0, (done + 1) / settings.warm_up) if settings.warm_up else 1.0
    if settings.schedule == "halving":
        # The reference steps its schedule at the start of an epoch: the first half comes with 0-based epoch 69.
        return float(rise * 0.5 ** ((epoch + 1) // 70))
    return rise * 0.5 * (1 + math.cos(math.pi * done / (settings.epochs * settings.steps)))
