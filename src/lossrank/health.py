"""Whether a score ranks the true loss, on labels that were held out of the training that made it: no label is spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lossrank.collect import View, collect
from lossrank.datasets.base import hash_share
from lossrank.ledger import SampleId
from lossrank.pool import Batch, Pool
from lossrank.ranking import spearman, top_k_recall
from lossrank.signals import Signals
from lossrank.tasks.base import Metric

__all__ = ["Estimate", "Evidence", "Health", "cross_fitted", "deal"]

RESAMPLES = 200
INTERVAL = 0.8  # of the bootstrap intervals


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap interval; None where it does not exist, a constant having no order."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def plain(self) -> list[float]:
        """`[value, low, high]`, rounded, for JSON."""
        return [round(self.value, 4), round(self.low, 4), round(self.high, 4)]


@dataclass(frozen=True)
class Health:
    """What one score is worth as a prediction of the loss."""

    spearman: Estimate | None
    top10_recall: Estimate | None
    """How many of the 10 % with the largest true loss are among the 10 % with the largest score."""

    def holds(self, threshold: float) -> bool:
        """Whether it ranks: Spearman of `threshold` or more, and an interval above 0."""
        return self.spearman is not None and self.spearman.value >= threshold and self.spearman.low > 0

    def __str__(self) -> str:
        return "no order" if self.spearman is None else f"Spearman {self.spearman}"


@dataclass(frozen=True)
class Evidence:
    """Of one round: every labelled sample was held out of one training."""

    samples: int
    folds: int
    metric: float
    """Of the models that had not seen what they were measured on."""
    loss: float
    scores: Mapping[str, Health]
    """By column."""
    difference: Estimate | None
    """How much larger the Spearman of `uncertainty` is than that of the first column, by resampling both at once."""
    extras: Mapping[str, float] = field(default_factory=dict)
    """Further figures of the metric, by name."""

    def plain(self) -> dict[str, Any]:
        """As JSON, for a row."""
        told = {
            name: {
                "spearman": health.spearman and health.spearman.plain(),
                "top10_recall": health.top10_recall and health.top10_recall.plain(),
            }
            for name, health in self.scores.items()
        }
        return {"samples": self.samples, "folds": self.folds, "scores": told}


def deal(categories: Mapping[SampleId, str | None], folds: int) -> list[list[SampleId]]:
    """The ids dealt to `folds` hands by class and then by a hash of the id: alike in every hand, alike every time."""
    ordered = sorted(categories, key=lambda i: (categories[i] or "", hash_share(i), i))
    return [ordered[hand::folds] for hand in range(folds)]


def cross_fitted(
    hands: Sequence[Sequence[SampleId]],
    fit: Callable[[Sequence[SampleId]], View],
    answered: Pool,
    column: str,
    generator: torch.Generator,
) -> Evidence:
    """Train on all hands but one and look at that one, for each.

    Scores of different trainings have no common scale: ranks are compared within a hand, and Spearman is the mean over
    hands, weighted by their sizes.

    Args:
        hands: the labelled ids, from `deal`.
        fit: ids to learn from, to the trained model.
        answered: holds the labelled samples with their answers as targets.
        column: of the score in question; `uncertainty` is looked at as well, where the task has one.
        generator: of the bootstrap.
    """
    names: tuple[str, ...] = ()
    found, metric = [], None
    for held in hands:
        view = fit([i for hand in hands if hand is not held for i in hand])
        metric = metric or view.task.metric()
        names = tuple(n for n in (column, "uncertainty") if n != "uncertainty" or view.task.has_uncertainty)
        found.append(_seen(view, answered, held, frozenset(names), metric))
    assert metric is not None
    true = [losses for _, losses in found]
    draws = [torch.randint(len(t), (RESAMPLES, len(t)), generator=generator) for t in true]
    values = {name: [scores[name] for scores, _ in found] for name in names}
    ranks = {name: _resampled(spearman, scores, true, draws) for name, scores in values.items()}
    recall = {name: _resampled(_top_tenth, scores, true, draws) for name, scores in values.items()}
    return Evidence(
        sum(map(len, true)),
        len(hands),
        metric.compute(),
        float(torch.cat(true).mean()),
        {name: Health(_estimate(ranks[name]), _estimate(recall[name])) for name in values},
        _estimate(ranks["uncertainty"] - ranks[column]) if len(ranks) == 2 else None,
        metric.extras(),
    )


def _seen(
    view: View, answered: Pool, ids: Sequence[SampleId], names: frozenset[str], metric: Metric
) -> tuple[Signals, Tensor]:
    """Scores and true losses [len(ids)] of samples that the view's model has not learned from."""
    losses: list[Tensor] = []

    def observe(batch: Batch, outputs: Tensor) -> None:
        targets = view.runtime.tensor(batch.targets)
        metric.update(outputs, targets)
        losses.append(view.task.loss(outputs, targets).float().cpu())

    if not names:  # there is no score: the losses alone
        for batch, outputs in view.outputs(answered, ids):
            observe(batch, outputs)
        return Signals(()), torch.cat(losses)
    return collect(view, answered, ids, names, observe), torch.cat(losses)


def _top_tenth(scores: Tensor, true: Tensor) -> Tensor:
    return top_k_recall(scores, true, k=max(1, true.shape[-1] // 10))


def _resampled(
    measure: Callable[[Tensor, Tensor], Tensor], scores: list[Tensor], true: list[Tensor], draws: list[Tensor]
) -> Tensor:
    """[1 + RESAMPLES] the mean over hands, weighted by size: as it is, then of each resample. Hands in which it does
    not exist (a resample may be constant) have no weight."""
    columns, weights = [], []
    for score, truth, rows in zip(scores, true, draws, strict=True):
        whole = measure(score[None], truth[None])
        again = measure(score[rows], truth[rows])
        columns.append(torch.cat([whole, again]).double())
        weights.append(float(len(truth)))
    table = torch.stack(columns, 1)
    weight = torch.tensor(weights, dtype=torch.float64) * ~table.isnan()
    return (table.nan_to_num() * weight).sum(1) / weight.sum(1)


def _estimate(values: Tensor) -> Estimate | None:
    """The first value with the interval of the others."""
    if torch.isnan(values[0]):
        return None
    rest = values[1:][~values[1:].isnan()]
    if not len(rest):
        return None
    low, high = torch.quantile(rest, torch.tensor([(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], dtype=rest.dtype)).tolist()
    return Estimate(float(values[0]), low, high)
