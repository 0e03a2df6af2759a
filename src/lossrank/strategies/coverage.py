"""Coverage strategies: choose what leaves every candidate near to something labelled, each candidate by its weight."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lossrank.columns import blocks
from lossrank.errors import StrategyError, unknown_name
from lossrank.ledger import SampleId
from lossrank.ranking import hard_ranks
from lossrank.signals import Signals
from lossrank.strategies.base import PredictorPlan, Strategy
from lossrank.strategies.herding import herding_greedy
from lossrank.strategies.predicted_loss import LossRank
from lossrank.strategies.typiclust import unit_embeddings

__all__ = ["Herding", "LossHerding", "MaxHerding", "UncertaintyHerding", "label_spacing"]

SPACING_QUANTILE = 0.05  # of the distances to the nearest other labelled sample: a few near-copies do not decide
SPACED = 2048  # labelled samples whose nearest neighbour is looked up; of more, so many evenly spaced ones
COPIES = 1e-5  # distance of unit vectors up to which two are the same but for rounding
UNCERTAINTIES = ("margin", "uncertainty", "least_confidence")


@dataclass(frozen=True)
class Herding(Strategy):
    """Greedy maximum of the weighted coverage of all candidates (`herding_greedy`), by embeddings of unit length."""

    bandwidth: float | None = None
    """Distance of two unit-length embeddings at which one covers the other to 1/e. None: the spacing of the labelled
    samples (`label_spacing`), which shrinks as labels are added, so that coverage becomes local."""

    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    needs_labelled: ClassVar[frozenset[str]] = frozenset({"embedding"})
    cost: ClassVar[str] = "one pass over candidates and labelled, then every distance among candidates once"

    def __post_init__(self) -> None:
        if self.bandwidth is not None and not 0 < self.bandwidth < float("inf"):
            raise StrategyError(f"{self.name}: bandwidth must be finite and > 0, or null; got {self.bandwidth}")

    @abstractmethod
    def weight(self, candidates: Signals) -> Tensor | None:
        """How much it counts that each candidate is covered, [N], >= 0; None: each counts 1."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        signals.require(n)
        ordered = signals.sorted()  # ties go to the first row: let that be a matter of ids
        weight = self.weight(ordered)
        if weight is not None and not bool(weight.any()):
            weight = None  # nothing is uncertain: what is left is to cover all of it
        points = unit_embeddings(ordered, labelled)
        candidates, known = points[: len(ordered)], points[len(ordered) :]
        bandwidth = label_spacing(known) if self.bandwidth is None else self.bandwidth
        return [ordered.ids[row] for row in herding_greedy(candidates, weight, known, n, bandwidth)]


@dataclass(frozen=True)
class MaxHerding(Herding):
    """The samples that together cover the candidates best: representative ones first, and no two alike.

    Bae et al. 2024: gaussian kernel of bandwidth 1 on embeddings of unit length. It reads no output of a model.
    """

    bandwidth: float | None = 1.0

    name: ClassVar[str] = "max-herding"
    paper: ClassVar[str] = (
        "Bae, Noh & Sutherland, Generalized Coverage for More Robust Low-Budget Active Learning, 2024"
    )

    def weight(self, candidates: Signals) -> None:
        return None


@dataclass(frozen=True)
class UncertaintyHerding(Herding):
    """MaxHerding in which each candidate counts by its uncertainty: what is unsure and not near anything labelled.

    Bae et al. 2025, without their temperature: probabilities are taken as the model gives them.
    """

    uncertainty: str = "margin"
    """The column that weighs: `margin`, `uncertainty` or `least_confidence`. Any that the task has."""

    name: ClassVar[str] = "uncertainty-herding"
    needs: ClassVar[frozenset[str]] = frozenset({"embedding", "margin"})
    score: ClassVar[str | None] = "margin"
    paper: ClassVar[str] = "Bae, Oliveira & Sutherland, Uncertainty Herding, ICLR 2025"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.uncertainty not in UNCERTAINTIES:
            raise StrategyError(unknown_name("uncertainty", self.uncertainty, UNCERTAINTIES))
        object.__setattr__(self, "needs", frozenset({"embedding", self.uncertainty}))
        object.__setattr__(self, "score", self.uncertainty)

    def departures(self) -> tuple[str, ...]:
        return ("uncertainty-herding: the temperature is not calibrated on held-out labels, as published; it is 1",)

    def weight(self, candidates: Signals) -> Tensor:
        values = candidates.finite(self.uncertainty).double()
        return values - values.min().clamp(max=0.0)  # a few tasks have uncertainties below 0


@dataclass(frozen=True)
class LossHerding(Herding):
    """Herding in which each candidate counts by its predicted loss: what loses much and stands for many others.

    The weight is (1 - trust) + trust * r with r the rank of the predicted loss, from 0 of the smallest to 1 of the
    largest. The predictor is that of `lossrank`.
    """

    trust: float = 1.0
    """How far the prediction counts: 0 covers all candidates alike, 1 gives the smallest predicted loss no weight."""
    plan: PredictorPlan = field(default_factory=lambda: LossRank().plan)

    name: ClassVar[str] = "loss-herding"
    needs: ClassVar[frozenset[str]] = frozenset({"embedding", "predicted_loss"})
    score: ClassVar[str | None] = "predicted_loss"
    cost: ClassVar[str] = f"{LossRank.cost}, then every distance among candidates once"
    paper: ClassVar[str] = "Uncertainty Herding (Bae et al. 2025) with a predicted loss in place of the uncertainty"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.trust <= 1:
            raise StrategyError(f"loss-herding: trust must be between 0 and 1, got {self.trust}")

    def predictor(self) -> PredictorPlan | None:
        return self.plan

    def weight(self, candidates: Signals) -> Tensor:
        losses = candidates.finite("predicted_loss").double()
        rank = hard_ranks(losses, descending=False, normalised=False)
        return 1 - self.trust + self.trust * (rank - 1) / max(len(losses) - 1, 1)


def label_spacing(points: Tensor) -> float:
    """The smallest distance of two labelled samples that are no copies of each other: the bandwidth of UHerding.

    So that a few near-copies do not make it next to nothing, it is the 5 % quantile of the distances to the nearest
    other sample. 1.0 where there are no two different samples, as published for none.

    Args:
        points: [M, D] of unit length.
    """
    chosen = np.linspace(0, max(len(points) - 1, 0), min(len(points), SPACED)).astype(np.int64)
    nearest = []
    for block in blocks(len(chosen)):
        distance = torch.cdist(points[torch.from_numpy(chosen[block])].double(), points.double())
        distance[distance <= COPIES] = torch.inf
        nearest.append(distance.amin(1))
    found = torch.cat(nearest) if nearest else torch.empty(0)
    found = found[found.isfinite()]
    return float(found.quantile(SPACING_QUANTILE, interpolation="lower")) if len(found) else 1.0
