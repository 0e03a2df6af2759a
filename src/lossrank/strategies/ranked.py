"""Strategies that take the top of a score, and the switches that make a top fit for batches and for dirty data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lossrank.errors import StrategyError, unknown_name
from lossrank.ledger import SampleId
from lossrank.requirements import require_number
from lossrank.signals import Signals
from lossrank.strategies.base import Strategy
from lossrank.strategies.spread import SPREADS, spread_rows, typical_distance, without_copies
from lossrank.strategies.stochastic import KINDS, perturbed

__all__ = ["Ranked"]


@dataclass(frozen=True, kw_only=True)
class Ranked(Strategy):
    """Takes the samples with the largest values of its score, changed by switches that are off by default.

    They work in the order in which they stand here: the guard puts samples last, noise reorders the others,
    near-duplicates step back, and of the `top` x n that now stand in front, n that differ are taken, in that order.
    """

    guard: float = 0.0
    """Share of the candidates, those with the largest scores, that are asked for last: what no label would mend
    (mislabelled, unreadable, outside the task) gathers there. 0: off; 0.05 to 0.2 where labels are often wrong."""
    noise: str = "none"
    """`softrank`, `softmax` or `power`: the batch is drawn around the top (see `stochastic.perturbed`)."""
    sharpness: float = 1.0
    """How closely a drawn batch keeps to the top: towards 0 uniform, large: the top alone."""
    apart: float = 0.0
    """A sample this near to a better one or to a labelled one steps back, as a share of the typical distance of two
    candidates in the embedding (root mean square). 0: off; 0.3 for bursts and frames of video."""
    diversity: str = "none"
    """`k-center` or `k-means++`: n samples that differ in the embedding, out of the top of the ranking."""
    top: float = 2.0
    """With diversity: how many times n samples it may choose from. A wider top gains more where the model is unsure of
    most candidates, and takes samples it is sure of where it is not: 4 against 2 gave +.5 and -.85 points (LOG.md)."""

    def __post_init__(self) -> None:
        for name, known in (("noise", KINDS), ("diversity", SPREADS)):
            if getattr(self, name) not in ("none", *known):
                raise StrategyError(unknown_name(name, getattr(self, name), ("none", *known)))
        require_number("guard", self.guard, 0, 1, error=StrategyError)
        require_number("apart", self.apart, 0, error=StrategyError)
        require_number("top", self.top, 1, error=StrategyError)
        require_number("sharpness", self.sharpness, 0, above=True, error=StrategyError)
        embedding = frozenset({"embedding"})
        none: frozenset[str] = frozenset()
        self._reads(embedding if self.apart or self.diversity != "none" else none, embedding if self.apart else none)

    def _reads(self, candidates: frozenset[str], labelled: frozenset[str]) -> None:
        """Columns that the switches read, beside those of the class. Set on a frozen value because they follow it."""
        kind = type(self)
        object.__setattr__(self, "needs", kind.needs | candidates)
        object.__setattr__(self, "needs_labelled", kind.needs_labelled | labelled)

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        assert self.score is not None
        if not self._switched():
            return signals.top(self.score, n)
        signals.require(n)
        ordered = signals.sorted()
        order = self._order(ordered.finite(self.score), generator)
        wanted = min(len(order), math.ceil(self.top * n)) if self.diversity != "none" else n
        if self.apart:
            order = self._without_copies(ordered, labelled, order, wanted)
        if self.diversity != "none":
            embedding = ordered.finite("embedding")[order[:wanted]]
            chosen = spread_rows(embedding, n, self.diversity, generator)
            order = [order[place] for place in sorted(chosen)]  # which are chosen is its say, not who is asked first
        return [ordered.ids[row] for row in order[:n]]

    def _switched(self) -> bool:
        return bool(self.guard or self.apart) or {self.noise, self.diversity} != {"none"}

    def _order(self, scores: Tensor, generator: torch.Generator) -> list[int]:
        """Rows, the one to ask first in front; ties as they come, which is by id."""
        values = scores.double().cpu()
        hardest = values.argsort(descending=True, stable=True)[: math.floor(self.guard * len(values))]
        if self.noise != "none":
            values = perturbed(values, self.noise, self.sharpness, generator)
        order = values.argsort(descending=True, stable=True)
        guarded = torch.zeros(len(values), dtype=torch.bool)
        guarded[hardest] = True
        return [*order[~guarded[order]].tolist(), *hardest.flip(0).tolist()]

    def _without_copies(self, ordered: Signals, labelled: Signals, order: list[int], wanted: int) -> list[int]:
        embedding = ordered.finite("embedding")
        known = labelled.finite("embedding") if len(labelled) else embedding[:0]
        if known.shape[1:] != embedding.shape[1:]:
            raise StrategyError(
                f"embeddings of the candidates are {list(embedding.shape[1:])} wide, of the labelled "
                f"{list(known.shape[1:])}"
            )
        return without_copies(embedding, order, known, self.apart * typical_distance(embedding), wanted)
