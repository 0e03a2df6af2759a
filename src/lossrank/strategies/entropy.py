"""Entropy: ask where the task's own uncertainty is largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from lossrank.ledger import SampleId
from lossrank.signals import Signals
from lossrank.strategies.base import Strategy

__all__ = ["Entropy"]


@dataclass(frozen=True)
class Entropy(Strategy):
    """Highest entropy of the model's output first (of classes, of joint maps, of a density map)."""

    name: ClassVar[str] = "entropy"
    needs: ClassVar[frozenset[str]] = frozenset({"uncertainty"})
    score: ClassVar[str | None] = "uncertainty"
    paper: ClassVar[str] = "Settles, Active Learning Literature Survey, 2009"

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        return signals.top("uncertainty", n)
