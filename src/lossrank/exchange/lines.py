"""JSON lines: an object for each sample, with `id` and `answer`, or `id` and `skip`.

A last line without a line break is whole if it is an object: a part of one is no JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossrank.errors import DataError
from lossrank.exchange.answers import Answers, Given, Question, Vocabulary, skip_reason, source_of
from lossrank.folder import write_atomic
from lossrank.strict_json import parse_strict, read_text

__all__ = ["read_lines", "take", "write_answer_lines", "write_lines"]


def write_lines(path: Path, questions: Sequence[Question], vocabulary: Vocabulary, pictures: Path) -> None:
    _write(
        path,
        [
            {
                "rank": q.rank,
                "id": q.sample,
                "score": q.score,
                "prediction": q.prediction,
                "confidence": q.confidence,
                "answer": None,
            }
            for q in questions
        ],
    )


def write_answer_lines(path: Path, answers: Sequence[Given], vocabulary: Vocabulary, pictures: Path) -> None:
    _write(
        path,
        [{"id": g.sample, "answer": g.answer, "skip": g.skipped, "source": g.source, "time": g.time} for g in answers],
    )


def read_lines(path: Path, vocabulary: Vocabulary) -> Answers:
    """Lines with an answer or a skip; lines in which both are null or missing are still open."""
    answers = Answers()
    for number, line in enumerate(read_text(path).split("\n"), 1):
        where = f"line {number}"
        if not line.strip():
            continue
        try:
            entry = parse_strict(line.strip("\r"), where)
        except DataError as error:
            answers.broken.append(str(error))
        else:
            take(entry, "answer", where, vocabulary, answers)
    return answers


def take(entry: Any, field: str, where: str, vocabulary: Vocabulary, answers: Answers) -> None:
    """Add the answer or skip in an object with `id`, `field` and `skip`, or what is wrong with it."""
    try:
        found = _given(entry, field, where, vocabulary)
    except DataError as error:
        answers.broken.append(f"{where}: {error}")
    else:
        answers.given.extend([found] if found else [])


def _given(entry: Any, field: str, where: str, vocabulary: Vocabulary) -> Given | None:
    """The answer or skip in an object with `id`, `field` and `skip`; None of an open question.

    Raises:
        DataError: it is none.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise DataError(f'expected is an object with "id" and "{field}"')
    try:
        answer, reason = entry.get(field), skip_reason(entry.get("skip"))
        if reason and answer is not None:
            raise DataError("has both an answer and a reason to skip")
        if answer is None and not reason:
            return None
        answer = None if reason else vocabulary.checked(answer)
    except DataError as error:
        raise DataError(f"{entry['id']}: {error}") from None
    return Given(entry["id"], answer, where, reason, source_of(entry.get("source")))


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_atomic(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
