"""Points as JSON: a list of {"id", "points": [[x, y], ...]}, in pixels of the picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lossrank.errors import DataError
from lossrank.exchange.answers import Answers, Given, Question, Vocabulary
from lossrank.folder import write_atomic
from lossrank.strict_json import read_text

__all__ = ["read_points", "write_points"]


def write_points(path: Path, questions: Sequence[Question], vocabulary: Vocabulary, pictures: Path) -> None:
    """`points` is null until somebody answers; `prediction` is the model's `count` and `points`, the surest first."""
    entries = [
        {"rank": q.rank, "id": q.sample, "score": q.score, "prediction": q.prediction, "points": None}
        for q in questions
    ]
    write_atomic(path, "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n]\n")


def read_points(path: Path, vocabulary: Vocabulary) -> Answers:
    """Entries whose `points` are a list (an empty one says that there is nothing), or that have a `skip`.

    Raises:
        DataError: it is no JSON list.
    """
    try:
        entries = json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}") from None
    if not isinstance(entries, list):
        raise DataError(f'{path} holds a {type(entries).__name__}; expected a list of {{"id", "points"}}')
    answers = Answers()
    for row, entry in enumerate(entries, 1):
        where = f"entry {row}"
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            answers.broken.append(f'{where}: expected is {{"id", "points"}}')
        elif entry.get("skip"):
            answers.given.append(Given(entry["id"], None, where, str(entry["skip"])))
        elif entry.get("points") is not None:
            try:
                answers.given.append(Given(entry["id"], vocabulary.checked(entry["points"]), where))
            except DataError as error:
                answers.broken.append(f"{where}: {entry['id']}: {error}")
    return answers
