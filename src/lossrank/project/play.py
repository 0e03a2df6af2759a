"""One `select` of a project: train if there are new answers, choose a batch, write it down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from lossrank.choosing import Choice, choose, readable
from lossrank.collect import View
from lossrank.config import Recipe
from lossrank.experiment import Learner, Watcher, look
from lossrank.folder import append_line
from lossrank.ledger import Ledger, SampleId
from lossrank.project.audit import AUDIT, quota
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
        audits = {q["id"]: AUDIT for q in row["questions"] if q.get("audit")}
        return ledger.ask(None, choices, row["reason"], layout.digests(sample for sample, _ in choices), audits)


def _chosen(table: Table, learner: Learner | None, batch: int, wanted: int) -> dict[str, Any]:
    """The batch's row: what is asked, why, and what the model says of each."""
    table.watcher.on_stage("select")
    pool, audit = table.experiment.pool, table.audit
    count = quota(table.audit_share, len(table.ledger.asked()), wanted, bool(audit.asked))
    drawn = readable(pool, list(islice(audit.upcoming(), 2 * count)), count)
    candidates = table.candidates(batch, drawn)
    view = look(table.experiment, learner) if learner else None
    choice, how = _by_strategy(table, view, candidates, drawn, batch, wanted - len(drawn))
    scores, percentiles = dict(choice.asked), choice.percentiles()
    if len(scores) + len(drawn) < wanted:  # nothing else is left to ask
        rest = [i for i in (*audit.reserve, *audit.copies) if i not in drawn]
        drawn += readable(pool, rest, wanted - len(scores) - len(drawn))
    said = _said(table, view, [*scores, *drawn])
    mixed = _mixed(list(scores), drawn, generator(table.recipe.seed, "audit", batch))
    audits = set(drawn)
    return {
        "batch": batch,
        "round": table.rows[-1]["round"] if learner else None,
        **({"chosen_by": "audit", "reason": AUDIT} if drawn and not scores else how),
        "outputs": list(table.layout.vocabulary.names),
        "questions": [
            {"id": i, "score": scores.get(i), "percentile": percentiles.get(i)}
            | ({"audit": True} if i in audits else {})
            | said.get(i, {})
            for i in mixed
        ],
    }


def _by_strategy(
    table: Table, view: View | None, candidates: Sequence[SampleId], drawn: Sequence[SampleId], batch: int, wanted: int
) -> tuple[Choice, dict[str, str]]:
    """What the strategy chooses of the candidates, and by what and why for the batch's row.

    Args:
        drawn: the audit questions of this batch.
    """
    experiment, strategy = table.experiment, table.experiment.strategy
    if not candidates or not wanted:
        return Choice([]), {"chosen_by": "", "reason": ""}
    if view is None or too_few_to_score(table):
        draw = generator(table.recipe.seed, "initial", batch)
        taken = sorted(i for i in (*table.ledger.asked(), *drawn) if i in experiment.pool)
        ids, reason = cold_choice(
            table.pictures.data.train, experiment.pool, candidates, taken, wanted, draw, table.watcher
        )
        return Choice([(i, None) for i in ids]), {"chosen_by": "typiclust", "reason": reason}
    how = {name: table.rows[-1][name] for name in ("chosen_by", "reason")}
    if isinstance(strategy, Auto):
        experiment = dataclasses.replace(experiment, strategy=strategy.named(how["chosen_by"]))
    found = choose(experiment, view, candidates, list(table.labels), wanted, batch, table.watcher.on_epoch)
    return found, how


def _mixed(chosen: Sequence[SampleId], drawn: Sequence[SampleId], draw: torch.Generator) -> list[SampleId]:
    """The audit questions at random places among the others: of a batch that is answered in part they stay a share."""
    places = torch.randperm(len(chosen) + len(drawn), generator=draw)[: len(drawn)].tolist()
    rest, audits = iter(chosen), iter(drawn)
    return [next(audits) if place in places else next(rest) for place in range(len(chosen) + len(drawn))]


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
