"""One round: train, measure, draw candidates, collect, choose, ask, write down. The heart of the library.

Round r trains on the answers of batches 0..r and then chooses batch r + 1; batch 0 is drawn at random. A choice is
in the ledger before anyone is asked, and the round's row, which the caller appends last, means it is whole.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lossrank.attached import AttachedPredictor
from lossrank.clock import Clock
from lossrank.collect import Measurement, View, collect, measure
from lossrank.columns import MemoryBudget
from lossrank.config import Recipe, bytes_of
from lossrank.duplicates import share_alike
from lossrank.health import Evidence, cross_fitted, deal
from lossrank.ledger import Ledger, SampleId
from lossrank.pool import Pool, Transform
from lossrank.runtime import Runtime
from lossrank.seeding import Purpose, generator
from lossrank.shown import shown
from lossrank.signals import Signals
from lossrank.strategies import Auto
from lossrank.strategies.base import Scene, Strategy, check_choice
from lossrank.tasks.base import Task
from lossrank.training import Companion, Lesson, attach_predictor, fit_after, train

__all__ = [
    "Choice",
    "Experiment",
    "Learner",
    "Watcher",
    "ask_initial",
    "candidates",
    "choose",
    "evidence",
    "learn",
    "look",
    "play_round",
    "settled",
    "start",
]

SHOWN = 12  # samples from either end of the ranking that a report shows


@dataclass(frozen=True)
class Watcher:
    """Who is told how far things are."""

    on_stage: Callable[[str], None] = lambda stage: None
    on_epoch: Callable[[int, int], None] = lambda done, epochs: None
    on_row: Callable[[dict[str, Any]], None] = lambda row: None


@dataclass(frozen=True)
class Experiment:
    """Everything a run is made of. Nothing in it changes from round to round."""

    recipe: Recipe
    task: Task
    strategy: Strategy
    pool: Pool
    """What may be labelled."""
    test: Pool
    """Held-out samples with known answers."""
    oracle: Callable[[Sequence[SampleId]], Mapping[SampleId, Any]]
    """Answers a batch of questions."""
    augment: Transform
    normalise: Transform
    runtime: Runtime
    labelled_pool: Pool | None = None
    """Where labelled samples lie, if not in `pool`."""

    @property
    def answered_pool(self) -> Pool:
        """The pool that holds the labelled samples."""
        return self.labelled_pool or self.pool


@dataclass
class Learner:
    """All that passes from round to round beside the ledger: the weights."""

    model: nn.Module
    predictor: AttachedPredictor | None
    earlier: nn.Module | None = None
    """The model before the latest training, for strategies that compare the two."""


@dataclass(frozen=True)
class Choice:
    """What a strategy chose, and the whole ranking it chose from where it has one."""

    asked: list[tuple[SampleId, float | None]]
    ranking: list[tuple[SampleId, float]] = field(default_factory=list)


def start(experiment: Experiment) -> Learner:
    """A new model, and its loss predictor if the strategy has one."""
    recipe, runtime = experiment.recipe, experiment.runtime
    model = runtime.module(experiment.task.model(generator(recipe.seed, "model")))
    plan = experiment.strategy.predictor()
    if plan is None:
        return Learner(model, None)
    example = next(experiment.pool.batches(batch_size=2, transform=experiment.normalise))
    return Learner(
        model, attach_predictor(model, experiment.task, plan, recipe.train, recipe.seed, runtime.tensor(example.inputs))
    )


def ask_initial(experiment: Experiment, ledger: Ledger) -> None:
    """Ask for the first labels: the same ones for every strategy at one seed."""
    budget = experiment.recipe.budget
    first = _readable(experiment.pool, shuffled(experiment, "initial", 0), budget.initial)
    _ask(experiment, ledger, 0, Choice([(i, None) for i in first]), "drawn at random to begin with")


def play_round(
    experiment: Experiment, learner: Learner, ledger: Ledger, number: int, watcher: Watcher
) -> dict[str, Any]:
    """Play round `number`; what it leaves is in the ledger, in the learner and in the row that is returned."""
    clock = Clock(watcher.on_stage)
    labels = ledger.labelled(up_to_batch=number)
    with clock.stage("train"):
        train_loss = learn(experiment, learner, labels, number, watcher)
    view = look(experiment, learner)
    with clock.stage("measure"):
        measured = measure(view, experiment.test, experiment.test.ids, _collected_score(experiment.strategy))
    choice, told = Choice([]), dict[str, Any]()
    budget = experiment.recipe.budget
    wanted = min(budget.step, budget.final - len(labels))
    if wanted > 0:
        with clock.stage("health"):
            by, reason, told = settled(experiment, labels, number)
        with clock.stage("select"):
            choice = choose(
                by, view, candidates(experiment, ledger, number), list(labels), wanted, number, watcher.on_epoch
            )
        _ask(experiment, ledger, number + 1, choice, reason)
    return _row(experiment, view, number, labels, train_loss, measured, choice, clock) | told


def settled(
    experiment: Experiment, labels: Mapping[SampleId, Any], number: int
) -> tuple[Experiment, str, dict[str, Any]]:
    """The experiment with the strategy that this round chooses by, the reason, and both for the row.

    Of a strategy that is not `auto`: itself, its name, and nothing.
    """
    auto = experiment.strategy
    if not isinstance(auto, Auto):
        return experiment, auto.name, {}
    found = evidence(experiment, labels, auto.folds, number) if len(labels) >= auto.least else None
    strategy, reason = auto.decided(found)
    told = {"chosen_by": strategy.name, "reason": reason, "health": found.plain() if found else None}
    return dataclasses.replace(experiment, strategy=strategy), reason, told


def evidence(experiment: Experiment, labels: Mapping[SampleId, Any], folds: int, number: int) -> Evidence:
    """What the strategy's score and the uncertainty are worth on labels held out of fresh trainings."""
    task = experiment.task

    def fit(ids: Sequence[SampleId]) -> View:
        learner = start(experiment)
        learn(experiment, learner, {i: labels[i] for i in ids}, 0, Watcher())
        return look(experiment, learner)

    return cross_fitted(
        deal({sample: task.category(answer) for sample, answer in labels.items()}, folds),
        fit,
        experiment.answered_pool.answered({i: task.target(answer) for i, answer in labels.items()}),
        _collected_score(experiment.strategy) or "uncertainty",
        generator(experiment.recipe.seed, "health", number),
    )


def _collected_score(strategy: Strategy) -> str | None:
    """The column that ranks samples, unless the strategy makes it itself: then only candidates have it."""
    return None if strategy.score in strategy.makes else strategy.score


def learn(
    experiment: Experiment, learner: Learner, labels: Mapping[SampleId, Any], number: int, watcher: Watcher
) -> float:
    """Train the learner on the answers; returns the mean loss of the last epoch."""
    recipe, task, plan = experiment.recipe, experiment.task, experiment.strategy.predictor()
    on_epoch = _remembering(experiment, learner, number, watcher)
    if number > 0 and not recipe.budget.warm_start:
        fresh = start(experiment)
        learner.model, learner.predictor = fresh.model, fresh.predictor
    lesson = Lesson(
        experiment.answered_pool.answered({i: task.target(answer) for i, answer in labels.items()}),
        list(labels),
        experiment.augment,
        experiment.runtime,
        recipe.seed,
        number,
        on_epoch,
    )
    if plan is None or learner.predictor is None:
        return train(learner.model, task, lesson, recipe.train)
    if plan.when == "during":
        return train(learner.model, task, lesson, recipe.train, Companion(learner.predictor, plan, recipe.train))
    train_loss = train(learner.model, task, lesson, recipe.train)
    fit_after(learner.predictor, task, lesson, recipe.train, plan)
    return train_loss


def _remembering(experiment: Experiment, learner: Learner, number: int, watcher: Watcher) -> Callable[[int, int], None]:
    """Keep the model as it is before training, if the strategy asks; in the first round half of the way through it."""
    if not experiment.strategy.needs_earlier:
        return watcher.on_epoch
    learner.earlier = _copied(experiment, learner.model) if number > 0 else None

    def on_epoch(done: int, epochs: int) -> None:
        if learner.earlier is None and done >= epochs // 2:  # an untrained model has nothing to say
            learner.earlier = _copied(experiment, learner.model)
        watcher.on_epoch(done, epochs)

    return on_epoch


def _copied(experiment: Experiment, model: nn.Module) -> nn.Module:
    """The model as it is now, without what listens to it."""
    copy = experiment.runtime.module(experiment.task.model(generator(experiment.recipe.seed, "model")))
    copy.load_state_dict(model.state_dict())
    return copy.eval()


def look(experiment: Experiment, learner: Learner) -> View:
    """The trained learner as a reader of samples."""
    return View(
        learner.model,
        experiment.task,
        experiment.normalise,
        experiment.runtime,
        experiment.recipe.train.eval_batch_size,
        learner.predictor,
        learner.earlier,
    )


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
    """Collect what the strategy needs and let it choose; fewer than `wanted` only where fewer can be read."""
    strategy = experiment.strategy
    budget = _memory(experiment, len(ids), len(labelled))
    # In the order of the ids from the start: sorting what lies in a file would copy it.
    signals = collect(view, experiment.pool, sorted(ids), strategy.needs - strategy.makes, budget=budget)
    if strategy.makes:
        signals = signals.joined(strategy.make(_scene(experiment, view, signals.ids, labelled, number, progress)))
    known = collect(view, experiment.answered_pool, sorted(labelled), strategy.needs_labelled, budget=budget)
    chosen = _select(experiment, signals, known, wanted, number)
    if not strategy.needs:  # nothing was read to choose: read the chosen now, and choose again without the broken
        while len(_readable(experiment.pool, chosen, len(chosen))) < len(chosen):
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


def _readable(pool: Pool, ids: Sequence[SampleId], n: int) -> list[SampleId]:
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


def _ask(experiment: Experiment, ledger: Ledger, batch: int, choice: Choice, reason: str) -> None:
    """Write the choice down, then ask. Repeated after a crash, it finds its own words and changes nothing."""
    known = ledger.retired()
    for sample, why in experiment.pool.unreadable.items():
        if sample not in known:
            ledger.retire([sample], why)
    ledger.ask(batch, choice.asked, reason)
    ledger.answer(experiment.oracle([sample for sample, _ in choice.asked]), source="oracle")


def _row(
    experiment: Experiment,
    view: View,
    number: int,
    labels: Mapping[SampleId, Any],
    train_loss: float,
    measured: Measurement,
    choice: Choice,
    clock: Clock,
) -> dict[str, Any]:
    metric = experiment.task.metric()
    asked = [sample for sample, _ in choice.asked]
    ranking = choice.ranking or choice.asked
    return {
        "round": number,
        "labelled": len(labels),
        "metric": {
            "name": metric.name,
            "value": measured.metric,
            "higher_is_better": metric.higher_is_better,
            "unit": metric.unit,
            **({"extras": dict(measured.extras)} if measured.extras else {}),
        },
        "train_loss": train_loss,
        "test_loss": measured.loss,
        "spearman": measured.spearman,
        "top10_recall": measured.top10_recall,
        "asked": asked,
        "score": experiment.strategy.score,
        "form": experiment.task.form(),
        "ranked_first": _shown(experiment, view, ranking[:SHOWN]),
        "ranked_last": _shown(experiment, view, ranking[-SHOWN:] if choice.ranking else []),
        "class_histogram": dict(sorted(Counter(_categories(experiment, asked)).items())),
        "near_duplicates": share_alike(experiment.pool, asked, experiment.recipe.train.eval_batch_size),
        "seconds": {stage: round(seconds, 3) for stage, seconds in clock.seconds.items()},
        "memory_mb": {stage: round(grown, 1) for stage, grown in clock.memory_mb.items()},
        "peak_memory_mb": round(clock.peak_memory_mb(), 1),
        "unreadable": [{"id": i, "reason": why} for i, why in sorted(experiment.pool.unreadable.items())],
        "notes": _notes(experiment, labels, asked, number),
    }


def _notes(experiment: Experiment, labels: Mapping[SampleId, Any], asked: Sequence[SampleId], number: int) -> list[str]:
    notes = list(experiment.strategy.departures())
    if not asked and number + 1 < experiment.recipe.rounds:
        notes.append("nothing readable is left to ask for")
    if count := sum(map(experiment.task.unmarked, labels.values())):
        notes.append(f"nothing is marked on {count} of {len(labels)} labelled samples: they weigh nothing")
    return notes


def _categories(experiment: Experiment, ids: Sequence[SampleId]) -> list[str]:
    found = map(experiment.task.category, experiment.oracle(ids).values())
    return [category for category in found if category is not None]


def _shown(
    experiment: Experiment, view: View, ranking: Sequence[tuple[SampleId, float | None]]
) -> list[dict[str, Any]]:
    return shown(view, experiment.pool, experiment.oracle([sample for sample, _ in ranking]), ranking)
