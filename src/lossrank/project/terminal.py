"""A project's status and questions as a terminal shows them. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from lossrank.exchange import Question
from lossrank.project.status import Forecast, Status

__all__ = ["SHOWN", "counts", "expected", "left_out", "questions_table", "rounds_table"]

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
        lines += [f"{what}: {sample} ({why})" for sample, why in list(reasons.items())[:SHOWN]]
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
        value = row["metric"]["value"]
        health = ((row["health"] or {}).get("scores") or {}).get("predicted_loss", {}).get("spearman")
        ranks = f"{health[0]:.2f} ({health[1]:.2f} to {health[2]:.2f})" if health else ""
        shown = "" if value is None else _in_unit(value, metric["unit"])
        table.add_row(str(row["round"]), str(row["labelled"]), shown, ranks, row["chosen_by"])
    return table


def expected(forecast: Forecast, unit: str) -> str:
    """What the next batch should bring, in a sentence."""
    gain, low, high = (_in_unit(v, unit, sign=True) for v in (forecast.gain, forecast.low, forecast.high))
    return f"{forecast.next_labels} more labels are expected to bring {gain} (80 %: {low} to {high})"


def questions_table(questions: Sequence[Question]) -> Table:
    """The first questions, each with what the model says of it."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("rank", "id", "score", "the model says"):
        table.add_column(head, justify="right" if head in ("rank", "score") else "left", overflow="fold")
    for q in questions[:SHOWN]:
        said = q.prediction.get("count") if isinstance(q.prediction, dict) else q.prediction
        says = said if isinstance(said, str | int | float) else ""
        sure = "" if q.confidence is None else f" {q.confidence:.0%}"
        table.add_row(str(q.rank), q.sample, "" if q.score is None else f"{q.score:.3g}", f"{says}{sure}")
    return table


def _in_unit(value: float, unit: str, sign: bool = False) -> str:
    form = "+" if sign else ""
    return f"{100 * value:{form}.1f} %" if unit == "%" else f"{value:{form}.4g} {unit}".rstrip()
