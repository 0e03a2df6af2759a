"""The open questions, and what the model said of each when it was asked."""

from __future__ import annotations

from typing import Any

from lossrank.exchange import Question
from lossrank.ledger import Ledger, SampleId
from lossrank.project.layout import Layout

__all__ = ["ask_the_rest", "asked_with", "open_questions"]


def open_questions(layout: Layout, ledger: Ledger) -> list[Question]:
    """The open questions, the one to answer first in front."""
    samples = ledger.open_questions()
    rows = asked_with(layout, set(samples))
    return [
        Question(
            sample,
            rank,
            row.get("score"),
            layout.vocabulary.prediction(row.get("prediction")),
            row.get("confidence"),
            row.get("percentile"),
        )
        for rank, sample in enumerate(samples, 1)
        for row in (rows.get(sample, {}),)
    ]


def asked_with(layout: Layout, samples: set[SampleId]) -> dict[SampleId, dict[str, Any]]:
    """What the rows of the batches hold of these samples; the latest row that names a sample counts."""
    found: dict[SampleId, dict[str, Any]] = {}
    for row in layout.latest_batches() if samples else ():
        found |= {q["id"]: q for q in row["questions"] if q["id"] in samples and q["id"] not in found}
        if len(found) == len(samples):
            break
    return found


def ask_the_rest(layout: Layout, ledger: Ledger) -> bool:
    """Ask the rest of a batch that a killed `select` had chosen and not asked yet; whether there was any.

    A sample may have been answered unasked meanwhile: then it was asked for another reason than the batch's.
    """
    row = next(layout.latest_batches(), None)
    if row is None:
        return False
    ids = [question["id"] for question in row["questions"]]
    reasons = ledger.reasons(ids)
    if row.get("reason") in reasons.values() or set(ids) <= reasons.keys() | ledger.retired(ids).keys():
        return False
    from lossrank.project.play import ask

    ask(layout, ledger, row)
    return True
