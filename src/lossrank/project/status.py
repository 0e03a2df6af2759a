"""Where a project stands, at a glance. Nothing here needs torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from lossrank.ledger import Ledger, SampleId
from lossrank.project.layout import Layout
from lossrank.project.measured import CROSS_FITTED, ON_AUDIT
from lossrank.strict_json import finite

__all__ = ["UNREADABLE", "UNREADABLE_STATE", "Forecast", "Status", "status_of"]

ROUNDS_FOR_A_FORECAST = 3
FILES = (".csv", ".tsv", ".jsonl", ".json")  # of answers; the source of an answer is its file's name if nobody gave one
UNREADABLE = "cannot be read: "
"""Begins the reason for which a picture that cannot be read is retired."""
UNREADABLE_STATE = re.compile(rf"^{re.escape(UNREADABLE)}.*?( \[(\d+ bytes, modified at \d+ ns)\])$", re.DOTALL)
"""Such a reason that ends in the file's state; the second group."""


@dataclass(frozen=True)
class Forecast:
    """What the next batch is expected to bring, in the metric's own unit, positive = better."""

    next_labels: int
    """Labels of that batch."""
    gain: float
    low: float
    high: float
    """With `low`, the 80 % interval."""


@dataclass(frozen=True)
class Status:
    """Counts are of samples."""

    pool: int
    """Never asked, not retired."""
    labelled: int
    """Answered, and not retired."""
    open: int
    """Asked, and neither answered nor skipped nor retired."""
    skipped: int
    corrected: int
    retired: int
    """Those that cannot be read included."""
    batches: int
    rounds: Sequence[dict[str, Any]]
    """A row for each training: `labelled`, `metric`, `chosen_by`, `reason`, `health` and more."""
    forecast: Forecast | None
    """None before three rounds followed the first, and where they tell nothing."""
    next: str
    """What to do now, in a sentence."""
    retired_because: Mapping[SampleId, str] = field(default_factory=dict)
    """The reason of each retired sample, as it was given."""
    unreadable: Mapping[SampleId, str] = field(default_factory=dict)
    """Pictures that cannot be read, with the reason; they are retired too."""


def status_of(layout: Layout, ledger: Ledger) -> Status:
    """Read it all; nothing is written, no picture is looked at."""
    counts, retired, skipped = ledger.counts(), ledger.retired(), ledger.skipped()
    rounds = layout.rounds()
    open_questions = ledger.count_open()
    never_asked = counts.get("add", 0) - counts.get("ask", 0) - len(retired.keys() - ledger.asked(ids=retired))
    answered_and_retired = retired.keys() & ledger.first_answers(retired).keys() if retired else ()
    labelled = counts.get("answer", 0) - len(answered_and_retired)
    unreadable = {i: _damage(why) for i, why in retired.items() if why.startswith(UNREADABLE)}
    forecast = forecast_of(rounds)
    return Status(
        pool=max(0, never_asked),
        labelled=labelled,
        open=open_questions,
        skipped=len(skipped.keys() - retired.keys()),
        corrected=counts.get("revise", 0),
        retired=len(retired),
        batches=ledger.batches(),
        rounds=rounds,
        forecast=forecast,
        next=_next(layout, open_questions, labelled, never_asked, rounds, forecast, ledger.last_source()),
        retired_because={i: why for i, why in retired.items() if i not in unreadable},
        unreadable=unreadable,
    )


def _damage(reason: str) -> str:
    """Why a picture cannot be read, of the reason that it is retired for."""
    state = UNREADABLE_STATE.match(reason)
    return (reason[: state.start(1)] if state else reason).removeprefix(UNREADABLE)


def forecast_of(rounds: Sequence[dict[str, Any]]) -> Forecast | None:
    """Of a batch as large as those before it, from the learning curve so far.

    The curve is of the rounds that were measured as the latest was. None where it has too few points, and where it was
    measured on the first batch alone.
    """
    how = rounds[-1].get("measured") if rounds else None
    if how == CROSS_FITTED:
        return None
    alike = [r["metric"] | {"labels": r["labelled"]} for r in rounds if r.get("measured") == how]
    known = [m for m in alike if finite(m["value"]) is not None and (m.get("interval") or how != ON_AUDIT)]
    points = {m["labels"]: m for m in known}
    if len(points) < ROUNDS_FOR_A_FORECAST:
        return None
    from lossrank.forecast import LEAST, forecast  # numpy and scipy: not for those who have no curve yet

    if len(points) < LEAST:
        return None
    labels, metric = sorted(points), rounds[-1]["metric"]
    step = max(1, round((labels[-1] - labels[0]) / (len(labels) - 1)))
    bound = (1.0 if metric["unit"] == "%" else None) if metric["higher_is_better"] else 0.0
    curve = [points[n] for n in labels]
    ends = [m["interval"] for m in curve] if how == ON_AUDIT else None
    better = metric["higher_is_better"]
    return Forecast(step, *forecast(labels, [m["value"] for m in curve], step, better, bound, ends))


def _next(
    layout: Layout,
    open_questions: int,
    labelled: int,
    never_asked: int,
    rounds: Sequence[dict[str, Any]],
    forecast: Forecast | None,
    source: str | None,
) -> str:
    where = quote(str(layout.folder))
    if not layout.images.is_dir():
        return layout.missing_pictures()
    if open_questions and (source or "").startswith("Label Studio"):
        return f"answer {open_questions} open questions in Label Studio, then lossrank label-studio sync {where}"
    if open_questions:
        return (
            f"answer {open_questions} open questions, in the file that they were written to or in one that "
            f"lossrank export {where} NEW_FILE makes; then lossrank ingest {where} FILE"
        )
    if not never_asked:
        new = labelled > (rounds[-1]["labelled"] + rounds[-1].get("audit", 0) if rounds else 0)
        return (
            f"every picture was asked; lossrank select {where} trains once more with all answers"
            if new
            else f"every picture was asked: new ones come with lossrank add {where}"
        )
    if forecast is not None and forecast.high <= 0:
        return "the next batch is not expected to bring anything: a good moment to stop"
    if (source or "").startswith("Label Studio"):
        return f"choose the next batch: lossrank select {where}, then lossrank label-studio push {where}"
    out = " --out NEW_FILE" if (source or "").lower().endswith(FILES) else ""
    return f"choose the next batch: lossrank select {where}{out}"
