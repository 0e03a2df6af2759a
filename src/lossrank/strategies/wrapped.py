"""Strategies around another strategy: the random subset of the paper, and the switches of `Ranked` for any score."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from lossrank.errors import StrategyError
from lossrank.ledger import SampleId
from lossrank.requirements import require_count
from lossrank.signals import Signals
from lossrank.strategies.base import PredictorPlan, Scene, Strategy
from lossrank.strategies.entropy import Entropy
from lossrank.strategies.ranked import Ranked

__all__ = ["Refined", "Subsample"]

FOLLOWED = ("makes", "needs_earlier", "needs_images", "score", "cost")


@dataclass(frozen=True)
class Subsample(Strategy):
    """Another strategy, which may choose from a random subset of the candidates alone.

    The hardest samples of a whole pool are near-duplicates; those of a subset are not (Yoo & Kweon 2019, section 3.2;
    L2R-AL draws 10,000 of CIFAR-10). It is a pure function of signals, for use outside of runs; in a run
    `budget.candidates` draws the subset before it is scored, which saves the scoring too.
    """

    of: Strategy = field(default_factory=Entropy)
    """The strategy that chooses; in a recipe its name, or a mapping of `name` and its options."""
    candidates: int = 10_000
    """Size of the subset; never smaller than what is asked for."""

    name: ClassVar[str] = "subsample"
    needs: ClassVar[frozenset[str]] = Entropy.needs
    score: ClassVar[str | None] = Entropy.score
    paper: ClassVar[str] = "Yoo & Kweon, Learning Loss for Active Learning, CVPR 2019"

    def __post_init__(self) -> None:
        require_count("subsample: candidates", self.candidates, error=StrategyError)
        for name in ("needs", "needs_labelled", *FOLLOWED):
            object.__setattr__(self, name, getattr(self.of, name))

    def predictor(self) -> PredictorPlan | None:
        return self.of.predictor()

    def departures(self) -> tuple[str, ...]:
        return self.of.departures()

    def make(self, scene: Scene) -> Signals:
        return self.of.make(scene)

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        signals.require(n)
        ordered = signals.sorted()
        for column in sorted(self.needs):
            ordered.finite(column)  # here too, so that a NaN is refused whether or not it is drawn
        rows = torch.randperm(len(ordered), generator=generator)[: max(n, self.candidates)]
        return self.of.select(ordered.take(rows.sort().values), labelled, n, generator)


@dataclass(frozen=True)
class Refined(Ranked):
    """The switches of `Ranked` around any strategy with a score, one of another package for instance.

    Built-in strategies with a score have the switches themselves.
    """

    of: Strategy = field(default_factory=Entropy)
    """The strategy whose score ranks; in a recipe its name, or a mapping of `name` and its options. Its own rule of
    choosing is not used."""

    name: ClassVar[str] = "refined"
    needs: ClassVar[frozenset[str]] = Entropy.needs
    score: ClassVar[str | None] = Entropy.score
    paper: ClassVar[str] = "docs/strategies.md"

    def __post_init__(self) -> None:
        if self.of.score is None:
            raise StrategyError(f"refined needs a strategy with a score of single samples; {self.of.name!r} has none")
        super().__post_init__()
        for name in FOLLOWED:
            object.__setattr__(self, name, getattr(self.of, name))

    def _reads(self, candidates: frozenset[str], labelled: frozenset[str]) -> None:
        object.__setattr__(self, "needs", self.of.needs | candidates)
        object.__setattr__(self, "needs_labelled", self.of.needs_labelled | labelled)

    def predictor(self) -> PredictorPlan | None:
        return self.of.predictor()

    def departures(self) -> tuple[str, ...]:
        return self.of.departures()

    def make(self, scene: Scene) -> Signals:
        return self.of.make(scene)
