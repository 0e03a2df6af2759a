"""The lines of `rounds.jsonl` as rows, wherever they lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lossrank.errors import RunError
from lossrank.parsing import MALFORMED, read_rows
from lossrank.report.rows import MetricInfo, Ranked, Row, Run, visible

__all__ = ["Line", "read_objects", "run_of"]

Line = tuple[int, dict[str, Any]]
"""Number of a line in its file, and what it holds."""


def run_of(
    folder: Path, recipe: Mapping[str, Any], environment: Mapping[str, Any], lines: Sequence[Line], path: Path
) -> Run:
    """A run of the lines of its rounds.

    Args:
        folder: of the run.
        path: of the lines, for errors.

    Raises:
        RunError: a line is no row, or a round is not where it belongs; names file and line.
    """
    rows = tuple(_row(line, f"{path}, line {number}") for number, line in lines)
    _check_rounds(path, rows)
    return Run(
        folder=folder,
        strategy=visible(recipe["strategy"]),
        seed=int(recipe["seed"]),
        recipe=recipe,
        environment=environment,
        metric=_metric(lines[-1][1], f"{path}, line {lines[-1][0]}") if lines else None,
        rows=rows,
    )


def read_objects(path: Path) -> list[Line]:
    """Each line that ends. The file may still be growing, and is left alone.

    Raises:
        RunError: the file cannot be read, or a line is no JSON object; a file that is not there has no line.
    """
    return list(enumerate(read_rows(path), 1))


def _check_rounds(path: Path, rows: Sequence[Row]) -> None:
    for expected, row in enumerate(rows):
        if row.round != expected:
            raise RunError(f"{path} has round {row.round} where round {expected} belongs")


def _row(line: Mapping[str, Any], where: str) -> Row:
    with _checked(where):
        return Row(
            round=int(line["round"]),
            labelled=int(line["labelled"]),
            value=float(line["metric"]["value"]) if line["metric"]["value"] is not None else math.nan,
            test_loss=_number(line.get("test_loss")),
            spearman=_number(line.get("spearman")),
            top10_recall=_number(line.get("top10_recall")),
            by_hand={str(k): float(s) for k, s in (line.get("by_hand") or {}).items()},
            asked=tuple(str(i) for i in line["asked"]),
            ranked_first=tuple(_ranked(item) for item in line.get("ranked_first") or ()),
            ranked_last=tuple(_ranked(item) for item in line.get("ranked_last") or ()),
            class_histogram={str(k): int(n) for k, n in (line.get("class_histogram") or {}).items()},
            seconds={str(k): float(s) for k, s in (line.get("seconds") or {}).items()},
            memory_mb={str(k): float(m) for k, m in (line.get("memory_mb") or {}).items()},
            peak_memory_mb=_number(line.get("peak_memory_mb")),
            unreadable=tuple((str(u["id"]), str(u.get("reason", ""))) for u in line.get("unreadable") or ()),
            notes=tuple(str(note) for note in line.get("notes") or ()),
            score=None if line.get("score") is None else str(line["score"]),
            form=dict(line.get("form") or {}),
            chosen_by=None if line.get("chosen_by") is None else str(line["chosen_by"]),
            health=dict(line["health"]) if line.get("health") else None,
            near_duplicates=_number(line.get("near_duplicates")),
        )


def _metric(line: Mapping[str, Any], where: str) -> MetricInfo:
    with _checked(where):
        metric = line["metric"]
        return MetricInfo(
            visible(metric["name"]), bool(metric.get("higher_is_better", True)), visible(metric.get("unit", ""))
        )


@contextmanager
def _checked(where: str) -> Iterator[None]:
    """One error for a line that lacks a field or holds a value of another form."""
    try:
        yield
    except KeyError as error:
        raise RunError(f"{where} lacks the field {error.args[0]!r}") from None
    except MALFORMED as error:
        raise RunError(f"{where} is no row of a run: {error}") from None


def _ranked(item: Mapping[str, Any]) -> Ranked:
    return Ranked(
        str(item["id"]),
        _number(item.get("score")),
        item.get("label"),
        _number(item.get("loss")),
        item.get("prediction"),
    )


def _number(value: Any) -> float | None:
    """A finite float; None for null and for what is no number, so that no mean is poisoned by it."""
    if value is None or not math.isfinite(float(value)):
        return None
    return float(value)
