"""One `select` of a project: train if there are new answers, choose a batch, write it down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lossrank.choosing import choose
from lossrank.collect import View
from lossrank.config import Recipe
from lossrank.experiment import Learner, Watcher, look
from lossrank.folder import append_line
from lossrank.ledger import Ledger, SampleId
from lossrank.project.cold import cold_choice
from lossrank.project.layout import Layout
from lossrank.project.table import Table
from lossrank.project.training import too_few_to_score, trained
from lossrank.project.unreadable import retirement, take_back_changed
from lossrank.seeding import generator
from lossrank.strategies import Auto

__all__ = ["ask", "play"]


def play(layout: Layout, recipe: Recipe, ledger: Ledger, n: int | None, watcher: Watcher) -> int | None:
    """Train if there are new answers, and choose a batch; returns its number, None where nothing is left to ask.

    A round's row and a batch's row are on disk before the ledger asks: killed in between, the next call asks what the
    row says, and draws nothing anew.
    """
    take_back_changed(layout, ledger)
    table = Table(layout, recipe, ledger, watcher)
    learner = trained(table) if table.labels else None
    batch = ledger.batches()
    wanted = n or (recipe.budget.step if table.labels else recipe.budget.initial)
    row = _chosen(table, learner, batch, wanted)
    # Of the candidates that were drawn some cannot be read: others are drawn in their place.
    while _retire_unreadable(table) and len(row["questions"]) < wanted:
        row = _chosen(table, learner, batch, wanted)
    if not row["questions"]:
        return None
    append_line(layout.folder / "batches.jsonl", json.dumps(row))
    return ask(layout, ledger, row)


def ask(layout: Layout, ledger: Ledger, row: Mapping[str, Any]) -> int:
    """Write a batch that was chosen into the ledger, with a digest of each picture."""
    with ledger.together():  # an answer may come in meanwhile, unasked
        taken = ledger.asked() | ledger.retired().keys()
        choices = [(q["id"], q.get("score")) for q in row["questions"] if q["id"] not in taken]
        return ledger.ask(None, choices, row["reason"], layout.digests(sample for sample, _ in choices))


def _chosen(table: Table, learner: Learner | None, batch: int, wanted: int) -> dict[str, Any]:
    """The batch's row: what is asked, why, and what the model says of each."""
    experiment, strategy, labels = table.experiment, table.experiment.strategy, list(table.labels)
    round_number = table.rows[-1]["round"] if learner else None
    candidates = table.candidates(batch)
    row: dict[str, Any] = {
        "batch": batch,
        "round": round_number,
        "chosen_by": "",
        "reason": "",
        "outputs": list(table.layout.vocabulary.names),
        "questions": [],
    }
    percentiles: dict[SampleId, float] = {}
    if not candidates:
        return row
    table.watcher.on_stage("select")
    view = look(experiment, learner) if learner else None
    if view is None or too_few_to_score(table):
        draw = generator(table.recipe.seed, "initial", batch)
        taken = sorted(i for i in table.ledger.asked() if i in experiment.pool)
        ids, reason = cold_choice(
            table.pictures.data.train, experiment.pool, candidates, taken, wanted, draw, table.watcher
        )
        asked: list[tuple[SampleId, float | None]] = [(i, None) for i in ids]
        row |= {"chosen_by": "typiclust", "reason": reason}
    else:
        row |= {name: table.rows[-1][name] for name in ("chosen_by", "reason")}
        if isinstance(strategy, Auto):
            experiment = dataclasses.replace(experiment, strategy=strategy.named(row["chosen_by"]))
        choice = choose(experiment, view, candidates, labels, wanted, batch, table.watcher.on_epoch)
        asked, percentiles = choice.asked, choice.percentiles()
    said = _said(table, view, [sample for sample, _ in asked])
    row["questions"] = [
        {"id": i, "score": score, "percentile": percentiles.get(i), **said.get(i, {})} for i, score in asked
    ]
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


def _retire_unreadable(table: Table) -> bool:
    """Retire what could not be read, as one command; whether there was any."""
    known = table.ledger.retired()
    new = {sample: why for sample, why in table.experiment.pool.unreadable.items() if sample not in known}
    with table.ledger.together():
        for sample, why in new.items():
            table.ledger.retire([sample], retirement(table.layout.images / sample, why))
    return bool(new)
