"""JSON lines: an object for each sample, with `id` and `answer`, or `id` and `skip`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossrank.errors import DataError
from lossrank.exchange.answers import Answers, Given, Question, Vocabulary
from lossrank.folder import write_atomic
from lossrank.strict_json import read_text

__all__ = ["read_lines", "write_lines"]


def write_lines(path: Path, questions: Sequence[Question], vocabulary: Vocabulary, pictures: Path) -> None:
    lines = [
        json.dumps(
            {
                "rank": q.rank,
                "id": q.sample,
                "score": q.score,
                "prediction": q.prediction,
                "confidence": q.confidence,
                "answer": None,
            },
            ensure_ascii=False,
        )
        for q in questions
    ]
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def read_lines(path: Path, vocabulary: Vocabulary) -> Answers:
    """Lines with an answer or a reason to skip; lines in which both are null or missing are still open."""
    answers = Answers()
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = _given(json.loads(line), f"line {number}", vocabulary)
        except json.JSONDecodeError as error:
            answers.broken.append(f"line {number}: no JSON ({error.msg} at character {error.pos + 1})")
        except (DataError, RecursionError) as error:
            answers.broken.append(f"line {number}: {error}")
        else:
            answers.given.extend([found] if found else [])
    return answers


def _given(line: Any, where: str, vocabulary: Vocabulary) -> Given | None:
    if not isinstance(line, dict) or not isinstance(line.get("id"), str):
        raise DataError('expected is an object with "id" and "answer"')
    answer, skip = line.get("answer"), line.get("skip")
    if skip and answer is not None:
        raise DataError(f"{line['id']} has both an answer and a reason to skip")
    if skip:
        return Given(line["id"], None, where, str(skip) if skip is not True else "skipped")
    return None if answer is None else Given(line["id"], vocabulary.checked(answer), where)
