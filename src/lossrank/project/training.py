"""The training of a project's round: where it begins, what it is measured by, and the row that it leaves."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from dataclasses import replace
from typing import Any

from lossrank.checkpoint import FOLDS, save_checkpoint
from lossrank.collect import Measurement, View, measure
from lossrank.experiment import Learner, learn, look, start
from lossrank.folder import append_line, environment, write_atomic
from lossrank.health import Evidence
from lossrank.ledger import SampleId
from lossrank.pool import Pool
from lossrank.project.measured import CROSS_FITTED, ON_AUDIT, ON_TEST
from lossrank.project.table import Table
from lossrank.restore import restore
from lossrank.rounds import evidence
from lossrank.runs import weights_of
from lossrank.shown import shown
from lossrank.strategies import Auto
from lossrank.tasks.intervals import FEWEST, Interval, Jackknife

__all__ = ["too_few_to_score", "trained"]

CONFUSIONS = 20  # pairs of classes that the row keeps
LEARNED = 24  # samples of the last batch that the row keeps, the largest loss first


def trained(table: Table) -> Learner:
    """The learner of the latest round; of a new round, its row written, where it would be another one now.

    It is another one with other answers, and where the recipe was edited so that the weights, or the reason for a
    choice, are no longer those that the checkpoint states. Training goes on from all weights that fit.
    """
    learner, contents, answers = start(table.experiment), table.contents(), _answers(table)
    goes_on = False
    if table.checkpoint is not None:
        found = restore(table.experiment, learner, table.checkpoint, contents=contents, renamed=table.renamed)
        same = table.checkpoint.contents == contents and table.rows[-1]["answers"] == answers
        # A strategy that compares with the model before the training needs a training to compare with.
        if same and not found.notes and not table.experiment.strategy.needs_earlier:
            return learner
        for note in found.notes:
            table.say(note)
        goes_on = found.model
    elif table.lost:
        table.say(f"{table.lost}: the model is trained from scratch on the {len(table.labels)} answers")
    _new_round(table, learner, answers, goes_on)
    return learner


def too_few_to_score(table: Table) -> bool:
    """Whether the strategy wants more labels before it lets a model choose."""
    strategy = table.experiment.strategy
    return isinstance(strategy, Auto) and len(table.labels) < strategy.least


def _answers(table: Table) -> str:
    """What of the answers a round depends on: those to train on, and those to measure on."""
    return digest([table.labels, table.audited] if table.audited else table.labels)


def digest(value: Any) -> str:
    """16 bytes of plain JSON's BLAKE2b, as hex."""
    return hashlib.blake2b(json.dumps(value, sort_keys=False).encode(), digest_size=16).hexdigest()


def _new_round(table: Table, learner: Learner, answers: str, goes_on: bool) -> None:
    """Train, measure, and write weights and row down.

    Args:
        goes_on: whether the learner has weights of the round before, which then say what they make of the new answers.
    """
    experiment, folder, rows = table.experiment, table.layout.folder, table.rows
    number, begin = len(rows), time.perf_counter()
    learned = _learned(table, look(experiment, learner)) if goes_on else []
    table.watcher.on_stage("train")
    train_loss = learn(experiment, learner, table.labels, number, table.watcher)
    row = _row(table, learner, number, train_loss)
    row |= {"answers": answers, "learned": learned, "seconds": {"all": time.perf_counter() - begin}}
    if not rows:
        write_atomic(folder / "environment.json", json.dumps(environment(), indent=2))
    save_checkpoint(weights_of(folder, number), learner, table.contents())
    append_line(folder / "rounds.jsonl", json.dumps(row))
    for older in weights_of(folder, number).parent.glob("*.safetensors"):  # a killed select may have left several
        if older != weights_of(folder, number):
            older.unlink(missing_ok=True)
    rows.append(row)


def _row(table: Table, learner: Learner, number: int, train_loss: float) -> dict[str, Any]:
    """What is known after a training, before anything is chosen; fields as in a run's row."""
    experiment, labels = table.experiment, table.labels
    strategy = experiment.strategy
    found = _evidence(table, learner, number)
    chosen, reason = strategy.name, strategy.name
    if too_few_to_score(table):
        chosen, reason = "typiclust", f"{len(labels)} labels are too few to let a model choose"
    elif isinstance(strategy, Auto):
        decided, reason = strategy.decided(found)
        chosen = decided.name
    measured, interval, how = _measured(table, look(experiment, learner), found)
    notes = [*table.notes, *strategy.departures()]
    if table.without_picture:
        notes.append(f"{len(table.without_picture)} answers are about pictures that are gone or cannot be read")
    return {
        "round": number,
        "labelled": len(labels),
        "metric": _metric(table, measured, interval, _measured_on(table, found, how)),
        "measured": how,
        "audit": len(table.audited),
        "train_loss": train_loss,
        "test_loss": None if math.isnan(measured.loss) else measured.loss,
        "spearman": measured.spearman,
        "top10_recall": measured.top10_recall,
        "chosen_by": chosen,
        "reason": reason,
        "health": found.plain() if found else None,
        "asked": [],
        "form": experiment.task.form(),
        "class_histogram": dict(sorted(Counter(_categories(table)).items())),
        "confusions": _confusions(found),
        "unreadable": [{"id": i, "reason": why} for i, why in sorted(experiment.pool.unreadable.items())],
        "notes": notes,
    }


def _metric(table: Table, measured: Measurement, interval: Interval | None, answers: int) -> dict[str, Any]:
    metric = table.experiment.task.metric()
    extras = {name: value for name, value in measured.extras.items() if math.isfinite(value)}
    return {
        "name": metric.name,
        "value": None if math.isnan(measured.metric) else measured.metric,
        "interval": interval and [interval.low, interval.high],
        "answers": answers,
        "higher_is_better": metric.higher_is_better,
        "unit": metric.unit,
        **({"extras": extras} if extras else {}),
    }


def _measured(table: Table, view: View, found: Evidence | None) -> tuple[Measurement, Interval | None, str]:
    """The measurement, its interval, and on what it was made, in the words of `project.measured`.

    On the test answers where there are some, else on the audit answers where they are enough, else as the models of the
    evidence did on what they had not seen: the pictures of the first batch, most of them, which were chosen as typical.
    """
    experiment, score = table.experiment, table.experiment.strategy.score
    health = found.scores.get(score or "") if found else None
    ranks, recall = (health.spearman, health.top10_recall) if health else (None, None)
    if table.measured_apart or _enough_audited(table):
        pool, ids = (experiment.test, experiment.test.ids) if table.measured_apart else _audit_pool(table)
        collected = None if score in experiment.strategy.makes else score
        jackknife = Jackknife(experiment.task)
        measured = measure(view, pool, ids, collected, also=jackknife.update)
        if not table.measured_apart and ranks is not None:  # cross-fitted on far more answers
            measured = replace(measured, spearman=ranks.value, top10_recall=recall.value if recall else None)
        return measured, jackknife.interval(), ON_TEST if table.measured_apart else ON_AUDIT
    if found is None:
        return Measurement(math.nan, math.nan), None, CROSS_FITTED
    measured = Measurement(
        found.metric, found.loss, ranks.value if ranks else None, recall.value if recall else None, found.extras
    )
    return measured, None, CROSS_FITTED


def _measured_on(table: Table, found: Evidence | None, how: str) -> int:
    """The number of answers."""
    apart = {ON_TEST: len(table.experiment.test), ON_AUDIT: len(table.audited)}
    return apart.get(how, found.samples if found else 0)


def _enough_audited(table: Table) -> bool:
    return len(table.audited) >= FEWEST


def _audit_pool(table: Table) -> tuple[Pool, list[SampleId]]:
    """The audit pictures with their answers."""
    task = table.experiment.task
    targets = {i: task.target(answer) for i, answer in table.audited.items()}
    return table.experiment.answered_pool.answered(targets), list(targets)


def _evidence(table: Table, learner: Learner, number: int) -> Evidence | None:
    """Where it is needed, to decide or for want of answers to measure on, and where there are answers enough."""
    strategy = table.experiment.strategy
    folds, least = (strategy.folds, strategy.least) if isinstance(strategy, Auto) else (FOLDS, 2 * FOLDS)
    apart = table.measured_apart or _enough_audited(table)
    if apart and not isinstance(strategy, Auto):
        return None
    if len(table.labels) < (least if apart else 2 * folds):
        return None
    table.watcher.on_stage("health")
    audited = table.audited if _enough_audited(table) else {}
    return evidence(
        table.experiment, learner, table.labels, table.ledger.scored(), folds, number, table.watcher.on_epoch, audited
    )


def _confusions(found: Evidence | None) -> list[dict[str, Any]]:
    """Pairs of classes that the models of the evidence mistook in answers held out of them, the most frequent first."""
    pairs = sorted(found.confusions.items(), key=lambda pair: (-pair[1], pair[0])) if found else []
    return [{"label": label, "prediction": said, "count": count} for (label, said), count in pairs[:CONFUSIONS]]


def _learned(table: Table, view: View) -> list[dict[str, Any]]:
    """The latest answered batch in the eyes of the model that had not seen it, the largest loss first."""
    for batch in reversed(range(table.ledger.batches())):
        asked = [c.sample for c in table.ledger.batch(batch) if c.sample in table.labels]
        if asked:
            answers = {i: table.labels[i] for i in asked}
            seen = shown(view, table.experiment.pool, answers, [(i, None) for i in asked])
            return sorted(seen, key=lambda s: -(s["loss"] or 0.0))[:LEARNED]
    return []


def _categories(table: Table) -> list[str]:
    found = map(table.experiment.task.category, table.labels.values())
    return [category for category in found if category is not None]
