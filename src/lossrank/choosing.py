"""From a trained model to a choice: draw candidates, collect what the strategy needs, let it choose."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from lossrank.collect import View, collect
from lossrank.columns import MemoryBudget
from lossrank.experiment import Experiment
from lossrank.ledger import Ledger, SampleId
from lossrank.pool import Pool
from lossrank.seeding import Purpose, generator
from lossrank.signals import Signals
from lossrank.sizes import bytes_of
from lossrank.strategies.base import Scene, check_choice

__all__ = ["Choice", "candidates", "choose", "readable", "shuffled"]


@dataclass(frozen=True)
class Choice:
    """What a strategy chose, and the whole ranking it chose from where it has one."""

    asked: list[tuple[SampleId, float | None]]
    ranking: list[tuple[SampleId, float]] = field(default_factory=list)

    def percentiles(self) -> dict[SampleId, float]:
        """Of each chosen sample the share of the ranking, in per cent, that scored lower; of equal scores half counts.

        Empty where there is no ranking.
        """
        scores = sorted(score for _, score in self.ranking)
        return {
            sample: 50 * (bisect_left(scores, score) + bisect_right(scores, score)) / len(scores)
            for sample, score in self.asked
            if score is not None and scores
        }


def candidates(experiment: Experiment, ledger: Ledger, number: int) -> list[SampleId]:
    """The random subset of what is unlabelled that round `number` may choose from.

    Every strategy walks the same permutation of the whole pool, so at one seed the subsets differ only by what
    each strategy has labelled already.
    """
    asked, retired = ledger.asked(up_to_batch=number), ledger.retired()
    free = [i for i in shuffled(experiment, "candidates", number) if i not in asked]
    # Retired samples leave after the cut: one that turns out unreadable in this very round must not let another
    # in when the round is played again after a crash.
    return [i for i in free[: experiment.recipe.budget.candidates] if i not in retired]


def choose(
    experiment: Experiment,
    view: View,
    ids: Sequence[SampleId],
    labelled: Sequence[SampleId],
    wanted: int,
    number: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Choice:
    """Collect what the strategy needs and let it choose; fewer than `wanted` only where fewer can be read.

    Of several processes the main one chooses; the others come with an empty choice.
    """
    strategy = experiment.strategy
    budget = _memory(experiment, len(ids), len(labelled))
    # In the order of the ids from the start: sorting what lies in a file would copy it.
    signals = collect(view, experiment.pool, sorted(ids), strategy.needs - strategy.makes, budget=budget)
    known = collect(view, experiment.answered_pool, sorted(labelled), strategy.needs_labelled, budget=budget)
    if not view.runtime.processes.main:
        return Choice([])
    if strategy.makes:
        signals = signals.joined(strategy.make(_scene(experiment, view, signals.ids, labelled, number, progress)))
    chosen = _select(experiment, signals, known, wanted, number)
    if not strategy.needs:  # nothing was read to choose: read the chosen now, and choose again without the broken
        while len(readable(experiment.pool, chosen, len(chosen))) < len(chosen):
            signals = Signals(tuple(i for i in signals.ids if i not in experiment.pool.unreadable))
            chosen = _select(experiment, signals, known, wanted, number)
    if strategy.score is None or not chosen:
        return Choice([(i, None) for i in chosen])
    scores = dict(zip(signals.ids, signals.finite(strategy.score).tolist(), strict=True))
    ranking = [(i, scores[i]) for i in signals.top(strategy.score, len(signals))]
    return Choice([(i, scores[i]) for i in chosen], ranking)


def _memory(experiment: Experiment, candidates: int, labelled: int) -> MemoryBudget:
    """What the recipe allows for the columns of both passes."""
    recipe, strategy = experiment.recipe, experiment.strategy
    rows = {
        name: candidates * (name in strategy.needs) + labelled * (name in strategy.needs_labelled)
        for name in strategy.needs | strategy.needs_labelled
    }
    return MemoryBudget(None if recipe.max_memory is None else bytes_of(recipe.max_memory), rows)


def _select(experiment: Experiment, signals: Signals, known: Signals, wanted: int, number: int) -> list[SampleId]:
    strategy, wanted = experiment.strategy, min(wanted, len(signals))
    if wanted == 0:
        return []
    chosen = strategy.select(signals, known, wanted, generator(experiment.recipe.seed, "select", number))
    check_choice(strategy.name, chosen, signals.ids, wanted)
    return chosen


def _scene(
    experiment: Experiment,
    view: View,
    ids: Sequence[SampleId],
    labelled: Sequence[SampleId],
    number: int,
    progress: Callable[[int, int], None],
) -> Scene:
    view.model.eval()
    return Scene(
        view.model,
        view.earlier,
        view.task,
        experiment.pool,
        ids,
        experiment.answered_pool,
        labelled,
        experiment.augment,
        experiment.normalise,
        view.runtime,
        view.batch_size,
        generator(experiment.recipe.seed, "prepare", number),
        progress,
    )


def readable(pool: Pool, ids: Sequence[SampleId], n: int) -> list[SampleId]:
    """The first n of `ids` that can be read; fewer where there are fewer."""
    found: list[SampleId] = []
    for batch in pool.batches(ids, n) if n else ():
        found += batch.ids
        if len(found) >= n:
            break
    return found[:n]


def shuffled(experiment: Experiment, purpose: Purpose, number: int) -> list[SampleId]:
    """All ids of the pool in the random order of that purpose and round, whatever order the pool has."""
    ids = sorted(experiment.pool.ids)
    draw = generator(experiment.recipe.seed, purpose, number)
    return [ids[row] for row in torch.randperm(len(ids), generator=draw).tolist()]
