"""The rows of `rounds.jsonl` and `batches.jsonl`: the fields that readers rely on, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossrank.errors import RunError
from lossrank.strict_json import finite

__all__ = ["check_batch", "check_round"]

Row = Mapping[str, Any]
ROUND: Mapping[str, tuple[type, ...]] = {
    "round": (int,),
    "labelled": (int,),
    "metric": (dict,),
    "chosen_by": (str,),
    "reason": (str,),
}
ROUND_OPTIONAL: Mapping[str, tuple[type, ...]] = {
    "form": (dict,),
    "measured": (str,),
    "health": (dict, type(None)),
    "learned": (list, type(None)),
    "class_histogram": (dict,),
    "confusions": (list, type(None)),
    "audit": (int,),
}
METRIC: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "value": (int, float, type(None)),
    "unit": (str,),
    "higher_is_better": (bool,),
}
METRIC_OPTIONAL: Mapping[str, tuple[type, ...]] = {
    "interval": (list, type(None)),
    "answers": (int,),
}
QUESTION_OPTIONAL: Mapping[str, tuple[type, ...]] = {
    "score": (int, float, type(None)),
    "confidence": (int, float, type(None)),
    "percentile": (int, float, type(None)),
    "audit": (bool,),
}
LARGEST = 2**53  # integers up to here are floats too
LEARNED: Mapping[str, tuple[type, ...]] = {"id": (str,), "loss": (int, float, type(None))}


def check_round(row: Row, where: str) -> None:
    """Check a row of a training.

    Raises:
        RunError: a field is missing or of another type; names `where`.
    """
    _check(row, where, ROUND, ROUND_OPTIONAL)
    _check(row["metric"], f"{where}, metric", METRIC, METRIC_OPTIONAL)
    _check_numbers(row["metric"].get("interval"), 2, f"{where}, metric, interval")
    for seen in row.get("learned") or ():
        _check(seen, f"{where}, learned", LEARNED)
        if missing := [name for name in ("label", "prediction") if name not in seen]:
            raise RunError(f"{where}, learned is damaged: it lacks {missing[0]}")
    for name, count in row.get("class_histogram", {}).items():
        _check({name: count}, f"{where}, class_histogram", {name: (int,)})
    for confused in row.get("confusions") or ():
        _check(confused, f"{where}, confusions", {"label": (str,), "prediction": (str,), "count": (int,)})
    scores = (row.get("health") or {}).get("scores") or {}
    _check({"scores": scores}, f"{where}, health", {"scores": (dict,)})
    for name, measures in scores.items():
        _check({name: measures}, f"{where}, health", {name: (dict,)})
        for measure in ("spearman", "top10_recall"):
            _check_numbers(measures.get(measure), 3, f"{where}, health, {name}, {measure}")


def check_batch(row: Row, where: str) -> None:
    """Check a row of a batch; errors as `check_round`."""
    _check(row, where, {"questions": (list,)}, {"reason": (str,)})
    for question in row["questions"]:
        _check(question, f"{where}, questions", {"id": (str,)}, QUESTION_OPTIONAL)


def _check(row: Any, where: str, types: Mapping[str, tuple[type, ...]], optional: Row | None = None) -> None:
    if not isinstance(row, dict):
        raise RunError(f"{where} is damaged: it must be a JSON object, got {_kind(row)}")
    for name, kinds in {**types, **(optional or {})}.items():
        if name not in row:
            if name in types:
                raise RunError(f"{where} is damaged: it lacks {name}")
        elif not isinstance(row[name], kinds) or (isinstance(row[name], bool) and bool not in kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise RunError(f"{where} is damaged: {name} must be {expected}, got {_kind(row[name])}")
        elif isinstance(row[name], int) and abs(row[name]) > LARGEST:
            raise RunError(f"{where} is damaged: {name} must be at most {LARGEST}, got {str(row[name])[:30]}")


def _check_numbers(value: Any, count: int, where: str) -> None:
    whole = isinstance(value, list) and len(value) == count and all(finite(v) is not None for v in value)
    if value is not None and not whole:
        raise RunError(f"{where} is damaged: it must be {count} finite numbers, got {str(value)[:60]}")


def _kind(value: Any) -> str:
    return type(value).__name__
