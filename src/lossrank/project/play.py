"""One `select` of a project: train if there are new answers, measure, choose, write down. The project's only torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lossrank.assembly import assemble
from lossrank.choosing import choose, shuffled
from lossrank.collect import Measurement, View, measure
from lossrank.config import Recipe
from lossrank.datasets import ImageData, RegressionData
from lossrank.experiment import Experiment, Learner, Watcher, learn, look, restore, start, state_of
from lossrank.folder import append_line, environment, load_weights, save_weights, write_atomic
from lossrank.health import Evidence
from lossrank.ledger import Ledger, SampleId
from lossrank.project.cold import cold_choice
from lossrank.project.layout import Layout
from lossrank.project.pictures import Pictures, open_pictures
from lossrank.rounds import evidence
from lossrank.runs import weights_of
from lossrank.seeding import generator
from lossrank.shown import shown
from lossrank.strategies import Auto

__all__ = ["Table", "ask", "play"]

LEARNED = 24  # samples of the last batch that the row keeps, the largest loss first


class Table:
    """What one `select` has before it."""

    def __init__(self, layout: Layout, recipe: Recipe, ledger: Ledger, watcher: Watcher) -> None:
        self.layout, self.recipe, self.ledger, self.watcher = layout, recipe, ledger, watcher
        self.rows = layout.rounds()
        watcher.on_stage("pictures")
        self.pictures: Pictures = open_pictures(layout, ledger.added())
        data = _scaled(self.pictures.data, layout, ledger)
        self.experiment: Experiment = assemble(recipe, data, check_budget=False)
        task = self.experiment.task
        truth = {i: answer for i, answer in self.pictures.truth.items() if i in data.test}
        if truth:
            targets = {i: task.target(self.pictures.learnt(i, answer)) for i, answer in truth.items()}
            self.experiment = dataclasses.replace(self.experiment, test=data.test.answered(targets))
        self.measured_apart = bool(truth)
        known = ledger.labelled()
        # An answer about a picture that is gone or damaged stays in the ledger; there is nothing to learn from it.
        self.labels = {i: self.pictures.learnt(i, answer) for i, answer in known.items() if i in data.train}
        self.without_picture = [i for i in known if i not in self.labels]

    def candidates(self, batch: int) -> list[SampleId]:
        """What this batch may be chosen from, in a random order."""
        closed = self.ledger.asked() | self.ledger.retired().keys()
        free = [i for i in shuffled(self.experiment, "candidates", batch) if i not in closed]
        return free[: self.recipe.budget.candidates]


def _scaled(data: ImageData, layout: Layout, ledger: Ledger) -> ImageData:
    """Of a regression, the data with the scale of the first answers. It stays: weights go on from round to round."""
    if layout.vocabulary.task != "regression":
        return data
    known = (ledger.labelled(up_to_batch=batch) for batch in range(ledger.batches()))
    values = [float(answer) for answer in next(filter(None, known), {}).values()]
    if not values:
        return data
    std = statistics.pstdev(values) or 1.0
    fields = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    return RegressionData(**fields, value_mean=(statistics.fmean(values),), value_std=(std,))


def play(layout: Layout, recipe: Recipe, ledger: Ledger, n: int | None, watcher: Watcher) -> int | None:
    """Train if there are new answers, and choose a batch; returns its number, None where nothing is left to ask.

    A round's row and a batch's row are on disk before the ledger asks: killed in between, the next call asks what the
    row says, and draws nothing anew.
    """
    table = Table(layout, recipe, ledger, watcher)
    learner = _trained(table) if table.labels else None
    batch = ledger.batches()
    wanted = n or (recipe.budget.step if table.labels else recipe.budget.initial)
    row = _chosen(table, learner, batch, wanted)
    _retire_unreadable(table)
    if not row["questions"]:
        return None
    append_line(layout.folder / "batches.jsonl", json.dumps(row))
    return ask(layout, ledger, row)


def ask(layout: Layout, ledger: Ledger, row: Mapping[str, Any]) -> int:
    """Write a batch that was chosen into the ledger, with a digest of each picture."""
    taken = ledger.asked() | ledger.retired().keys()
    choices = [(q["id"], q["score"]) for q in row["questions"] if q["id"] not in taken]
    return ledger.ask(None, choices, row["reason"], layout.digests(sample for sample, _ in choices))


def _trained(table: Table) -> Learner:
    """The learner of the latest round; with new answers, that of a new round, its row written."""
    experiment, layout, rows = table.experiment, table.layout, table.rows
    learner, model = start(experiment), _digest(dataclasses.asdict(table.recipe)["model"])
    answers = _digest(table.labels)
    last = rows[-1] if rows else None
    if last and last["model"] == model:
        restore(learner, load_weights(weights_of(layout.folder, last["round"])))
    elif last:
        table.watcher.on_stage("the recipe's model is another one: it begins anew")
    if last and last["answers"] == answers and last["model"] == model:
        return learner
    number, begin = len(rows), time.perf_counter()
    learned = _learned(table, look(experiment, learner)) if last and last["model"] == model else []
    table.watcher.on_stage("train")
    train_loss = learn(experiment, learner, table.labels, number, table.watcher)
    row = _row(table, learner, number, train_loss)
    row |= {"model": model, "answers": answers, "learned": learned, "seconds": {"all": time.perf_counter() - begin}}
    if not rows:
        write_atomic(layout.folder / "environment.json", json.dumps(environment(), indent=2))
    save_weights(weights_of(layout.folder, number), state_of(learner))
    append_line(layout.folder / "rounds.jsonl", json.dumps(row))
    weights_of(layout.folder, number - 1).unlink(missing_ok=True)
    rows.append(row)
    return learner


def _row(table: Table, learner: Learner, number: int, train_loss: float) -> dict[str, Any]:
    """What is known after a training, before anything is chosen; fields as in a run's row."""
    experiment, labels = table.experiment, table.labels
    strategy, metric = experiment.strategy, experiment.task.metric()
    found = _evidence(table, learner, number)
    chosen, reason = strategy, strategy.name
    if isinstance(strategy, Auto):
        table.watcher.on_stage("health")
        chosen, reason = strategy.decided(found if len(labels) >= strategy.least else None)
    measured = _measured(table, look(experiment, learner), found)
    extras = {name: value for name, value in measured.extras.items() if math.isfinite(value)}
    notes = list(strategy.departures())
    if table.without_picture:
        notes.append(f"{len(table.without_picture)} answers are about pictures that are gone or cannot be read")
    return {
        "round": number,
        "labelled": len(labels),
        "metric": {
            "name": metric.name,
            "value": None if math.isnan(measured.metric) else measured.metric,
            "higher_is_better": metric.higher_is_better,
            "unit": metric.unit,
            **({"extras": extras} if extras else {}),
        },
        "measured": "on the test answers" if table.measured_apart else "cross-fitted on the answers",
        "train_loss": train_loss,
        "test_loss": None if math.isnan(measured.loss) else measured.loss,
        "spearman": measured.spearman,
        "top10_recall": measured.top10_recall,
        "chosen_by": chosen.name,
        "reason": reason,
        "health": found.plain() if found else None,
        "asked": [],
        "form": experiment.task.form(),
        "class_histogram": dict(sorted(Counter(_categories(table)).items())),
        "unreadable": [{"id": i, "reason": why} for i, why in sorted(experiment.pool.unreadable.items())],
        "notes": notes,
    }


def _measured(table: Table, view: View, found: Evidence | None) -> Measurement:
    """On the test answers where there are some; else as the models of the evidence did on what they had not seen."""
    experiment, score = table.experiment, table.experiment.strategy.score
    if table.measured_apart:
        collected = None if score in experiment.strategy.makes else score
        return measure(view, experiment.test, experiment.test.ids, collected)
    if found is None:
        return Measurement(math.nan, math.nan)
    health = found.scores.get(score or "")
    ranks, recall = (health.spearman, health.top10_recall) if health else (None, None)
    return Measurement(
        found.metric, found.loss, ranks.value if ranks else None, recall.value if recall else None, found.extras
    )


def _evidence(table: Table, learner: Learner, number: int) -> Evidence | None:
    """Where it is needed, to decide or for want of test answers, and where there are answers enough."""
    strategy = table.experiment.strategy
    folds, least = (strategy.folds, strategy.least) if isinstance(strategy, Auto) else (3, 6)
    if table.measured_apart and not isinstance(strategy, Auto):
        return None
    if len(table.labels) < (least if table.measured_apart else 2 * folds):
        return None
    table.watcher.on_stage("health")
    return evidence(table.experiment, learner, table.labels, table.ledger.scored(), folds, number)


def _chosen(table: Table, learner: Learner | None, batch: int, wanted: int) -> dict[str, Any]:
    """The batch's row: what is asked, why, and what the model says of each."""
    experiment, strategy, labels = table.experiment, table.experiment.strategy, list(table.labels)
    round_number = table.rows[-1]["round"] if learner else None
    candidates = table.candidates(batch)
    row: dict[str, Any] = {"batch": batch, "round": round_number, "chosen_by": "", "reason": "", "questions": []}
    if not candidates:
        return row
    table.watcher.on_stage("select")
    view = look(experiment, learner) if learner else None
    too_few = isinstance(strategy, Auto) and len(labels) < strategy.least
    if view is None or too_few:
        draw = generator(table.recipe.seed, "initial", batch)
        ids, reason = cold_choice(experiment.pool, candidates, labels, wanted, draw)
        asked: list[tuple[SampleId, float | None]] = [(i, None) for i in ids]
        row |= {"chosen_by": "typiclust", "reason": reason}
    else:
        row |= {name: table.rows[-1][name] for name in ("chosen_by", "reason")}
        if isinstance(strategy, Auto):
            experiment = dataclasses.replace(experiment, strategy=strategy.named(row["chosen_by"]))
        choice = choose(experiment, view, candidates, labels, wanted, batch, table.watcher.on_epoch)
        asked = choice.asked
    said = _said(table, view, [sample for sample, _ in asked])
    row["questions"] = [{"id": i, "score": score, **said.get(i, {})} for i, score in asked]
    return row


def _said(table: Table, view: View | None, ids: Sequence[SampleId]) -> dict[SampleId, dict[str, Any]]:
    """What the model says of each: in the form of an answer, and as a report draws it."""
    found: dict[SampleId, dict[str, Any]] = {}
    if view is None or not ids:
        return found
    for batch, outputs in view.outputs(table.experiment.pool, ids):
        for sample, prediction in zip(batch.ids, view.task.predictions(outputs), strict=True):
            answer, confidence = table.pictures.said(sample, prediction)
            found[sample] = {"prediction": answer, "confidence": confidence, "shown": prediction}
    return found


def _learned(table: Table, view: View) -> list[dict[str, Any]]:
    """The latest answered batch in the eyes of the model that had not seen it, the largest loss first."""
    for batch in reversed(range(table.ledger.batches())):
        asked = [c.sample for c in table.ledger.batch(batch) if c.sample in table.labels]
        if asked:
            answers = {i: table.labels[i] for i in asked}
            seen = shown(view, table.experiment.pool, answers, [(i, None) for i in asked])
            return sorted(seen, key=lambda s: -(s["loss"] or 0.0))[:LEARNED]
    return []


def _retire_unreadable(table: Table) -> None:
    known = table.ledger.retired()
    for sample, why in table.experiment.pool.unreadable.items():
        if sample not in known:
            table.ledger.retire([sample], f"cannot be read: {why}")


def _categories(table: Table) -> list[str]:
    found = map(table.experiment.task.category, table.labels.values())
    return [category for category in found if category is not None]


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=False).encode(), digest_size=16).hexdigest()
