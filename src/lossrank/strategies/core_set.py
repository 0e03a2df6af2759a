"""Core-set: label what is farthest from everything labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from lossrank.ledger import SampleId
from lossrank.signals import Signals
from lossrank.strategies.base import Strategy
from lossrank.strategies.k_center import k_center_greedy

__all__ = ["CoreSet"]


@dataclass(frozen=True)
class CoreSet(Strategy):
    """Greedy k-center from the labelled set, on pooled features of the last block."""

    name: ClassVar[str] = "core-set"
    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    needs_labelled: ClassVar[frozenset[str]] = frozenset({"embedding"})
    cost: ClassVar[str] = "one pass over candidates and labelled, then distances of the few that may be farthest"
    paper: ClassVar[str] = "Sener & Savarese, A Core-Set Approach, ICLR 2018"

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        signals.require(n)
        ordered = signals.sorted()  # ties go to the first row: let that be a matter of ids
        embedding = ordered.finite("embedding")
        centres = labelled.finite("embedding") if len(labelled) else embedding[:0]
        return [ordered.ids[row] for row in k_center_greedy(embedding, centres, n)]
