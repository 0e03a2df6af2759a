"""One round: train, measure, draw candidates, collect, choose, ask, write down. The heart of the library.

Round r trains on the answers of batches 0..r and then chooses batch r + 1; batch 0 is drawn at random. A choice is
in the ledger before anyone is asked, and the round's row, which the caller appends last, means it is whole.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import torch

from lossrank.choosing import Choice, candidates, choose, readable, shuffled
from lossrank.clock import Clock
from lossrank.collect import Measurement, View, measure
from lossrank.duplicates import share_alike
from lossrank.experiment import Experiment, Learner, Watcher, learn, look, restore_state, start, state_of
from lossrank.health import Evidence, cross_fitted, deal
from lossrank.ledger import Ledger, SampleId
from lossrank.seeding import generator
from lossrank.shown import shown
from lossrank.strategies import Auto
from lossrank.strategies.base import Strategy

__all__ = ["ask_initial", "evidence", "play_round", "settled", "train_again"]

AUDITED = -1  # the fold of the audit answers, which no training holds
SHOWN = 12  # samples from either end of the ranking that a report shows


def ask_initial(experiment: Experiment, ledger: Ledger) -> None:
    """Ask for the first labels: the same ones for every strategy at one seed."""
    budget = experiment.recipe.budget
    first = readable(experiment.pool, shuffled(experiment, "initial", 0), budget.initial)
    _ask(experiment, ledger, 0, Choice([(i, None) for i in first]), "drawn at random to begin with")


def play_round(
    experiment: Experiment, learner: Learner, ledger: Ledger, number: int, watcher: Watcher
) -> dict[str, Any]:
    """Play round `number`; what it leaves is in the ledger, in the learner and in the row that is returned.

    Where several processes share the run the main one asks, and returns a row with what it measured; theirs is empty.
    """
    main = experiment.runtime.processes.main
    clock = Clock(watcher.on_stage)
    labels = ledger.labelled(up_to_batch=number)
    with clock.stage("train"):
        train_loss = learn(experiment, learner, labels, number, watcher)
    view = look(experiment, learner)
    with clock.stage("measure"):
        score, size = _collected_score(experiment.strategy), experiment.recipe.train.batch_size
        measured = measure(view, experiment.test, experiment.test.ids, score, size)
    choice, told = Choice([]), dict[str, Any]()
    wanted = _wanted(experiment, labels)
    if wanted > 0:
        with clock.stage("health"):
            by, reason, told = settled(experiment, learner, ledger, labels, number)
        with clock.stage("select"):
            choice = choose(
                by, view, candidates(experiment, ledger, number), list(labels), wanted, number, watcher.on_epoch
            )
        if main:
            _ask(experiment, ledger, number + 1, choice, reason)
    return _row(experiment, view, number, labels, train_loss, measured, choice, clock) | told if main else {}


def train_again(experiment: Experiment, ledger: Ledger, rounds: int, watcher: Watcher) -> Learner:
    """The learner after so many rounds, trained on their answers again: the one whose weights were lost."""
    learner = start(experiment)
    for number in range(rounds):
        watcher.on_stage(f"train round {number} again")
        labels = ledger.labelled(up_to_batch=number)
        learn(experiment, learner, labels, number, watcher)
        if _wanted(experiment, labels) > 0:
            settled(experiment, learner, ledger, labels, number)
    return learner


def _wanted(experiment: Experiment, labels: Mapping[SampleId, Any]) -> int:
    """How many samples the next batch asks for."""
    budget = experiment.recipe.budget
    return min(budget.step, budget.final - len(labels))


def settled(
    experiment: Experiment, learner: Learner, ledger: Ledger, labels: Mapping[SampleId, Any], number: int
) -> tuple[Experiment, str, dict[str, Any]]:
    """The experiment with the strategy that this round chooses by, the reason, and both for the row.

    Of a strategy that is not `auto`: itself, its name, and nothing.
    """
    auto = experiment.strategy
    if not isinstance(auto, Auto):
        return experiment, auto.name, {}
    enough = len(labels) >= auto.least
    found = evidence(experiment, learner, labels, ledger.scored(), auto.folds, number) if enough else None
    found = experiment.runtime.processes.same(found)
    strategy, reason = auto.decided(found)
    told = {"chosen_by": strategy.name, "reason": reason, "health": found.plain() if found else None}
    return dataclasses.replace(experiment, strategy=strategy), reason, told


def evidence(
    experiment: Experiment,
    learner: Learner,
    labels: Mapping[SampleId, Any],
    scored: Set[SampleId],
    folds: int,
    number: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    audited: Mapping[SampleId, Any] | None = None,
) -> Evidence | None:
    """What the strategy's score and the uncertainty are worth on labels held out of trainings.

    None where so few are labelled that no fold leaves a sample to train on.

    Each fold has a learner of its own that goes on from round to round as the run's does, in as many steps, and never
    sees what is held out of it; their weights pass on in `learner.folds`.

    Args:
        scored: what was asked for its score, see `lossrank.health.deal`.
        progress: called with the number of epochs done, of all folds, and their total.
        audited: answers that nothing was ever trained on: the learner itself is looked at on these, as one fold more.
    """
    task = experiment.task

    def fit(fold: int, held: Sequence[SampleId]) -> View:
        if fold == AUDITED:
            return look(experiment, learner)
        before = list(hands).index(fold)
        watcher = Watcher(on_epoch=lambda done, of: progress(before * of + done, trainings * of))
        return _trained_apart(experiment, learner, labels, fold, held, number, watcher)

    audited = audited or {}
    hands = {fold: held for fold, held in deal(labels, scored, folds).items() if len(held) < len(labels)}
    trainings = len(hands)
    hands |= {AUDITED: list(audited)} if audited else {}
    if not hands:
        return None
    return cross_fitted(
        hands,
        fit,
        experiment.answered_pool.answered({i: task.target(answer) for i, answer in {**labels, **audited}.items()}),
        _collected_score(experiment.strategy) or "uncertainty",
        generator(experiment.recipe.seed, "health", number),
    )


def _trained_apart(
    experiment: Experiment,
    learner: Learner,
    labels: Mapping[SampleId, Any],
    fold: int,
    held: Sequence[SampleId],
    number: int,
    watcher: Watcher,
) -> View:
    """The view of a fold's own learner, trained on all labels but those held out of it."""
    apart = start(experiment)
    if fold in learner.folds:
        restore_state(apart, learner.folds[fold])
    kept_out = set(held)
    known = {i: answer for i, answer in labels.items() if i not in kept_out}
    ids = list(known)
    # Small sets are trained in few steps, and a model of a tenth fewer of them ranks visibly worse.
    again = torch.randint(len(ids), (len(held),), generator=generator(experiment.recipe.seed, "folds", number))
    learn(experiment, apart, known, number, watcher, [ids[row] for row in again.tolist()])
    if experiment.recipe.budget.warm_start:
        learner.folds[fold] = state_of(apart)
    return look(experiment, apart)


def _collected_score(strategy: Strategy) -> str | None:
    """The column that ranks samples, unless the strategy makes it itself: then only candidates have it."""
    return None if strategy.score in strategy.makes else strategy.score


def _ask(experiment: Experiment, ledger: Ledger, batch: int, choice: Choice, reason: str) -> None:
    """Write the choice down, then ask. Repeated after a crash, it finds its own words and changes nothing."""
    known = ledger.retired()
    for sample, why in experiment.pool.unreadable.items():
        if sample not in known:
            ledger.retire([sample], why)
    ledger.ask(batch, choice.asked, reason)
    ledger.answer(experiment.oracle([sample for sample, _ in choice.asked]), source="oracle")


def _metric(experiment: Experiment, measured: Measurement) -> dict[str, Any]:
    metric = experiment.task.metric()
    return {
        "name": metric.name,
        "value": measured.metric,
        "higher_is_better": metric.higher_is_better,
        "unit": metric.unit,
        **({"extras": dict(measured.extras)} if measured.extras else {}),
    }


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
    asked = [sample for sample, _ in choice.asked]
    ranking = choice.ranking or choice.asked
    return {
        "round": number,
        "labelled": len(labels),
        "metric": _metric(experiment, measured),
        "train_loss": train_loss,
        "test_loss": measured.loss,
        "spearman": measured.spearman,
        "spearman_batches": measured.spearman_batches,
        "top10_recall": measured.top10_recall,
        "by_hand": dict(measured.by_hand),
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
