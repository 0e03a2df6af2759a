"""What the metric of a project's round was measured on, and how that is said. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CROSS_FITTED", "ON_AUDIT", "ON_TEST", "in_unit", "measured_on", "with_interval"]

ON_TEST = "on the test answers"
ON_AUDIT = "on the audit answers"
CROSS_FITTED = "cross-fitted on the answers"


def measured_on(row: Mapping[str, Any]) -> str:
    """Of a round's row: what the metric was measured on, and what it says of other pictures, in a sentence."""
    how, count = row.get("measured", ON_TEST), row["metric"].get("answers")
    number = f"{count} " if count else ""
    if how == ON_AUDIT:
        return f"on {number}audit answers: drawn at random from the whole pool and never trained on"
    if how == CROSS_FITTED:
        return (
            f"cross-fitted on {number}answers that no score asked for, the first batch above all: it may be too high. "
            "From 5 answered audit questions on it is measured on these, with an interval"
        )
    return f"on {number}test answers"


def with_interval(metric: Mapping[str, Any]) -> str:
    """The value of a row's metric and its 80 % interval."""
    if metric["value"] is None:
        return ""
    shown, ends = in_unit(metric["value"], metric["unit"]), metric.get("interval")
    return f"{shown} ({' to '.join(in_unit(end, metric['unit']) for end in ends)})" if ends else shown


def in_unit(value: float, unit: str, sign: bool = False) -> str:
    """A value as a person reads it."""
    form = "+" if sign else ""
    return f"{100 * value:{form}.1f} %" if unit == "%" else f"{value:{form}.4g} {unit}".rstrip()
