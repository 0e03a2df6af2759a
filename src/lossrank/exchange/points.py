"""Points as JSON: a list of {"id", "points": [[x, y], ...]}, in pixels of the picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossrank.errors import DataError
from lossrank.exchange.answers import Answers, Given, Question, Vocabulary
from lossrank.exchange.lines import take
from lossrank.folder import write_atomic
from lossrank.strict_json import read_strict

__all__ = ["read_points", "write_answer_points", "write_points"]


def write_points(path: Path, questions: Sequence[Question], vocabulary: Vocabulary, pictures: Path) -> None:
    """`points` is null until somebody answers; `prediction` is the model's `count` and `points`, the surest first."""
    _write(
        path,
        [
            {"rank": q.rank, "id": q.sample, "score": q.score, "prediction": q.prediction, "points": None}
            for q in questions
        ],
    )


def write_answer_points(path: Path, answers: Sequence[Given], vocabulary: Vocabulary, pictures: Path) -> None:
    _write(
        path,
        [{"id": g.sample, "points": g.answer, "skip": g.skipped, "source": g.source, "time": g.time} for g in answers],
    )


def read_points(path: Path, vocabulary: Vocabulary) -> Answers:
    """Entries whose `points` are a list (an empty one says that there is nothing), or that have a `skip`.

    Raises:
        DataError: it is no JSON list.
    """
    entries = read_strict(path)
    if not isinstance(entries, list):
        raise DataError(f'{path} holds a {type(entries).__name__}; expected a list of {{"id", "points"}}')
    answers = Answers()
    for row, entry in enumerate(entries, 1):
        take(entry, "points", f"entry {row}", vocabulary, answers)
    return answers


def _write(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    write_atomic(path, "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n]\n")
