"""Random: the baseline that everything must beat, and at small budgets often does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from lossrank.ledger import SampleId
from lossrank.signals import Signals
from lossrank.strategies.base import Strategy

__all__ = ["Random"]


@dataclass(frozen=True)
class Random(Strategy):
    """A uniform draw without replacement."""

    name: ClassVar[str] = "random"
    cost: ClassVar[str] = "nothing"
    paper: ClassVar[str] = "the baseline of every paper"

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        signals.require(n)
        ids = sorted(signals.ids)
        return [ids[row] for row in torch.randperm(len(ids), generator=generator)[:n].tolist()]
