"""A project's status and questions as a terminal shows them. Nothing here needs torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from rich.table import Table
from rich.text import Text

from lossrank.console import console, percentile, printable
from lossrank.errors import listed
from lossrank.exchange import Question
from lossrank.ledger_events import Event
from lossrank.ledger_history import kinds_of
from lossrank.picture_files import Listing
from lossrank.project.measured import in_unit, measured_on, with_interval
from lossrank.project.status import Forecast, Status

__all__ = [
    "NO_FORECAST",
    "SHOWN",
    "accuracy",
    "counts",
    "expected",
    "left_out",
    "one_line",
    "print_answering",
    "print_pictures",
    "questions_table",
    "rounds_table",
    "taken_back",
]

NO_FORECAST = "It is too early to forecast what the next batch will bring."
SHOWN = 10  # questions of a batch that are printed, and samples that are left out


def counts(found: Status) -> Text:
    """The number of samples in each state, in one line."""
    names = ("pool", "labelled", "open", "skipped", "corrected", "retired")
    parts = (Text.assemble(f"{name} ", (str(getattr(found, name)), "bold")) for name in names)
    return Text("   ").join(parts)


def left_out(found: Status) -> list[str]:
    """The pictures that are retired, and those that cannot be read, with their reasons, a line each."""
    lines = []
    for what, reasons in (("retired", found.retired_because), ("cannot be read", found.unreadable)):
        lines += [f"{what}: {one_line(sample)} ({why})" for sample, why in list(reasons.items())[:SHOWN]]
        if len(reasons) > SHOWN:
            lines.append(f"{what}: {len(reasons) - SHOWN} more, all of them in the report")
    return lines


def rounds_table(found: Status) -> Table:
    """A line for each training."""
    metric = found.rounds[-1]["metric"]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("round", "labels", metric["name"], "Spearman of the predictor", "chosen by"):
        table.add_column(head, justify="left" if head == "chosen by" else "right")
    for row in found.rounds:
        health = ((row["health"] or {}).get("scores") or {}).get("predicted_loss", {}).get("spearman")
        ranks = f"{health[0]:.2f} ({health[1]:.2f} to {health[2]:.2f})" if health else ""
        table.add_row(str(row["round"]), str(row["labelled"]), with_interval(row["metric"]), ranks, row["chosen_by"])
    return table


def accuracy(found: Status) -> str:
    """What the latest round's metric is, and what it was measured on, in a sentence."""
    row = found.rounds[-1]
    metric = row["metric"]
    if metric["value"] is None:
        return f"{metric['name']}: there are too few answers to measure it"
    interval = metric.get("interval")
    ends = f" (80 %: {' to '.join(in_unit(end, metric['unit']) for end in interval)})" if interval else ""
    return f"{metric['name']} {in_unit(metric['value'], metric['unit'])}{ends}, {measured_on(row)}"


def expected(forecast: Forecast, unit: str) -> str:
    """What the next batch should bring, in a sentence."""
    gain, low, high = (in_unit(v, unit, sign=True) for v in (forecast.gain, forecast.low, forecast.high))
    return f"{forecast.next_labels} more labels are expected to bring {gain} (80 %: {low} to {high})"


def questions_table(questions: Sequence[Question]) -> Table:
    """The first questions, each with what the model says of it."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    scored = any(q.percentile is not None for q in questions)
    for head in ("rank", "id", *(["percentile"] if scored else []), "the model says"):
        table.add_column(head, justify="right" if head in ("rank", "percentile") else "left", overflow="fold")
    for q in questions[:SHOWN]:
        place = ["" if q.percentile is None else percentile(q.percentile)] if scored else []
        table.add_row(str(q.rank), one_line(q.sample), *place, _says(q))
    return table


def taken_back(events: Sequence[Event]) -> str:
    """What an `undo` took back: how many of each kind, from which source, and the first samples."""
    words, counts, sources = {"revise": "correction", "retire": "retirement"}, Counter[str](), set[str]()
    for (kind, source), n in kinds_of(events).items():
        counts[words.get(kind, kind)] += n
        sources |= {source} if source is not None else set()
    what = ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for word, n in sorted(counts.items()))
    given = f", from {listed(sorted(sources))}" if sources else ""
    names = ", ".join(one_line(event.sample) for event in events[:SHOWN])
    rest = f" and {counts.total() - SHOWN} more" if counts.total() > SHOWN else ""
    return f"Taken back: {what}{given}: {names}{rest}"


def one_line(sample: str) -> str:
    """An id without line breaks and tabs, which a name may hold."""
    return printable(sample, keep="")


def print_pictures(found: Listing, taken: int) -> None:
    """How many pictures of a folder are taken, and what is left out for which reason."""
    total = len(found.files) + len(found.left_out)
    console.print(f"{taken} pictures." if not found.left_out else f"{taken} of {total} pictures are taken in.")
    for line in found.lines():
        console.print(line)


def print_answering(project: Path, out: Path) -> None:
    """Say how the answers come back from a file of questions."""
    console.print(f"Next: answer in {out}, then lossrank ingest {quote(str(project))} {quote(str(out))}")


def _says(question: Question) -> str:
    said, sure = question.prediction, "" if question.confidence is None else f" {question.confidence:.0%}"
    if isinstance(said, dict):
        said = said.get("count")
    words = f"{said:.4g}" if isinstance(said, float) else said if isinstance(said, str | int) else ""
    return f"{words}{sure}".strip()
