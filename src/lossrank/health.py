"""Whether a score ranks the true loss, on labels that were held out of the training that made it: no label is spent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lossrank.collect import WORST, View, collect
from lossrank.datasets.base import hash_share
from lossrank.ledger import SampleId
from lossrank.pool import Batch, Pool
from lossrank.ranking import kendall_tau, spearman, top_k_recall
from lossrank.signals import Signals
from lossrank.tasks.base import Metric, Task

__all__ = ["Estimate", "Evidence", "Health", "cross_fitted", "deal"]

RESAMPLES = 200
INTERVAL = 0.8  # of the bootstrap intervals
ENOUGH = 20  # samples that no score chose, from which on evidence rests on them alone
SMALLEST = 3  # samples of a hand, up to which nothing can be said of a population


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
    confusions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Of classes: how many samples of the first were taken for the second, where the two differ."""

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


def deal(labelled: Collection[SampleId], scored: Set[SampleId], folds: int) -> dict[int, list[SampleId]]:
    """What each fold holds out: labelled samples that no score chose, dealt by a hash of the id, so for good.

    Of samples that were chosen for their score only the hard ones are known, and among those a score ranks far worse
    than in the pool. Where fewer than `ENOUGH` others are labelled, all are dealt, and the evidence is too modest.
    """
    drawn = [i for i in labelled if i not in scored]
    dealt: dict[int, list[SampleId]] = {}
    for sample in sorted(drawn if len(drawn) >= ENOUGH else labelled):
        # A pool may itself be cut by the hash of the id alone.
        dealt.setdefault(int(hash_share(f"held out: {sample}") * folds), []).append(sample)
    return dict(sorted(dealt.items()))


def cross_fitted(
    hands: Mapping[int, Sequence[SampleId]],
    fit: Callable[[int, Sequence[SampleId]], View],
    answered: Pool,
    column: str,
    generator: torch.Generator,
) -> Evidence:
    """Train without each hand, and look at it.

    Scores of different trainings have no common scale: ranks are compared within a hand, and Spearman is the mean over
    hands, weighted by their sizes.

    Args:
        hands: the labelled ids to hold out, by fold, from `deal`.
        fit: a fold and what it holds out, to the trained model.
        answered: holds the labelled samples with their answers as targets.
        column: of the score in question; `uncertainty` is looked at as well, where the task has one.
        generator: of the bootstrap.
    """
    names: tuple[str, ...] = ()
    confusions = Counter[tuple[str, str]]()
    found, metric = [], None
    for fold, held in hands.items():
        view = fit(fold, held)
        metric = metric or view.task.metric()
        names = tuple(n for n in (column, "uncertainty") if n != "uncertainty" or view.task.has_uncertainty)
        found.append(_seen(view, answered, held, frozenset(names), metric, confusions))
    assert metric is not None
    true = [losses for _, losses in found]
    draws = [torch.randint(len(t), (RESAMPLES, len(t)), generator=generator) for t in true]
    values = {name: [scores[name] for scores, _ in found] for name in names}
    ranks = {name: _resampled(spearman, scores, true, draws) for name, scores in values.items()}
    recall = {name: _resampled(partial(top_k_recall, k=WORST), scores, true, draws) for name, scores in values.items()}
    lost = {name: _attenuation(scores, true) for name, scores in values.items()}
    return Evidence(
        sum(map(len, true)),
        len(hands),
        metric.compute(),
        float(torch.cat(true).mean()),
        {name: Health(_estimate(ranks[name], lost[name]), _estimate(recall[name])) for name in values},
        _estimate(ranks["uncertainty"] - ranks[column]) if len(ranks) == 2 else None,
        metric.extras(),
        dict(confusions),
    )


def _seen(
    view: View,
    answered: Pool,
    ids: Sequence[SampleId],
    names: frozenset[str],
    metric: Metric,
    confusions: Counter[tuple[str, str]],
) -> tuple[Signals, Tensor]:
    """Scores and true losses [len(ids)] of samples that the view's model has not learned from."""
    losses: list[Tensor] = []

    def observe(batch: Batch, outputs: Tensor) -> None:
        targets = view.runtime.tensor(batch.targets)
        metric.update(outputs, targets)
        confusions.update(_confused(view.task, outputs, targets))
        losses.append(view.task.loss(outputs, targets).cpu().double())

    if not names:  # there is no score: the losses alone
        for batch, outputs in view.outputs(answered, ids):
            observe(batch, outputs)
        return Signals(()), torch.cat(losses)
    return collect(view, answered, ids, names, observe), torch.cat(losses)


def _confused(task: Task, outputs: Tensor, targets: Tensor) -> list[tuple[str, str]]:
    """Label and prediction of each sample whose class was mistaken; nothing of other tasks."""
    if task.form().get("kind") != "class":
        return []
    pairs = zip((task.answer(t) for t in targets.cpu()), task.predictions(outputs), strict=True)
    return [(label, said["class"]) for label, said in pairs if label != said["class"]]


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


def _attenuation(scores: Sequence[Tensor], true: Sequence[Tensor]) -> float:
    """How much smaller Spearman is expected in hands of this size than in the population, mean weighted by size.

    Of n samples it is expected to be ((n - 2) rho + 3 tau) / (n + 1), rho and tau being the population's Spearman and
    Kendall (Moran 1948): at rho = .8, .07 less among 7 samples and .01 less among 50.
    """
    lost = [
        (len(t) * float(3 * (spearman(s, t) - kendall_tau(s, t)) / (len(t) - 2)), len(t))
        for s, t in zip(scores, true, strict=True)
        if len(t) > SMALLEST
    ]
    known = [(loss, size) for loss, size in lost if not math.isnan(loss)]
    return sum(loss for loss, _ in known) / sum(size for _, size in known) if known else 0.0


def _estimate(values: Tensor, shift: float = 0.0) -> Estimate | None:
    """The first value with the interval of the others, all moved by `shift` but no further than 1."""
    if torch.isnan(values[0]):
        return None
    rest = values[1:][~values[1:].isnan()]
    if not len(rest):
        return None
    low, high = torch.quantile(rest, torch.tensor([(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], dtype=rest.dtype)).tolist()
    return Estimate(*(min(1.0, value + shift) for value in (float(values[0]), low, high)))
