"""The predictor where it ranks well, and what ranks better where it does not: decided each round, on evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch

from lossrank.errors import StrategyError
from lossrank.ledger import SampleId
from lossrank.requirements import require_count
from lossrank.signals import Signals
from lossrank.strategies.base import PredictorPlan, Scene, Strategy
from lossrank.strategies.entropy import Entropy
from lossrank.strategies.predicted_loss import LossRank
from lossrank.strategies.random import Random

if TYPE_CHECKING:
    from lossrank.health import Evidence

__all__ = ["Auto"]

FOLLOWED = ("needs", "needs_labelled", "makes", "needs_earlier", "score")


@dataclass(frozen=True)
class Auto(Strategy):
    """Predicted loss while its ranking holds on held-out labels, else uncertainty or chance: whichever those support.

    Before each choice the model and its predictor are trained `folds` times on all but a share of the labels, and the
    score is compared with the true loss on that share (`lossrank.health`); no label is spent. Outside of a run there is
    no such evidence, and `select` is that of `of`.
    """

    of: Strategy = field(default_factory=LossRank)
    """The strategy that is trusted or not; in a recipe its name, or a mapping of `name` and its options."""
    threshold: float = 0.2
    """Spearman with the true loss below which a score is not trusted. Its interval has to stay above 0 as well."""
    folds: int = 5
    """Trainings without a share of the labels, each round, beside the round's own."""
    least: int = 30
    """Labels below which there is no evidence worth the name: the choice is then drawn at random."""

    name: ClassVar[str] = "auto"
    needs: ClassVar[frozenset[str]] = LossRank.needs
    score: ClassVar[str | None] = LossRank.score
    cost: ClassVar[str] = "that of the strategy it is about, and `folds` further trainings a round"
    paper: ClassVar[str] = "docs/strategies.md"

    def __post_init__(self) -> None:
        if self.of.score is None or self.of.score in self.of.makes:
            raise StrategyError(f"auto needs a strategy whose score is collected; {self.of.name!r} has none")
        for name, value, least in (("folds", self.folds, 2), ("least", self.least, 2 * self.folds)):
            require_count(f"auto: {name}", value, least, error=StrategyError)
        for name in FOLLOWED:
            object.__setattr__(self, name, getattr(self.of, name))

    def predictor(self) -> PredictorPlan | None:
        return self.of.predictor()

    def departures(self) -> tuple[str, ...]:
        return self.of.departures()

    def make(self, scene: Scene) -> Signals:
        return self.of.make(scene)

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        return self.of.select(signals, labelled, n, generator)

    def named(self, name: str) -> Strategy:
        """The strategy of this name among those that it decides between."""
        return next(s for s in (self.of, Entropy(), Random()) if s.name == name)

    def decided(self, evidence: Evidence | None) -> tuple[Strategy, str]:
        """What this round chooses by, and why in a sentence.

        Args:
            evidence: of this round; None where there were too few labels for any.
        """
        assert self.of.score is not None
        if evidence is None:
            return Random(), f"chance: fewer than {self.least} labels do not tell whether a score ranks"
        ours, theirs = evidence.scores[self.of.score], evidence.scores.get("uncertainty")
        beside = f", uncertainty {theirs}" if theirs else ", a task without uncertainty"
        found = f"{self.of.name} {ours}{beside}, on {evidence.samples} held-out labels"
        trusted, fallback = ours.holds(self.threshold), theirs is not None and theirs.holds(self.threshold)
        worse = evidence.difference is not None and evidence.difference.low > 0
        if trusted and not (fallback and worse):
            return self.of, f"{self.of.name} ranks well enough: {found}"
        if fallback:
            lead = f", by {evidence.difference}" if trusted and worse else ""
            return Entropy(), f"uncertainty ranks better{lead}: {found}"
        which = "neither score ranks" if theirs else "the score does not rank"
        return Random(), f"chance: {which} well enough (Spearman {self.threshold:g}): {found}"
