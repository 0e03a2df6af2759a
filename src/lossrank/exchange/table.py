"""CSV: columns `id`, `answer` and `skip`; of questions also `rank`, `score`, `prediction` and `confidence`.

A cell that a spreadsheet would take for a formula is written with an apostrophe before it, and read without.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossrank.errors import DataError
from lossrank.exchange.answers import Answers, Given, Question, Vocabulary
from lossrank.folder import write_atomic
from lossrank.spreadsheet import csv_text, plain
from lossrank.strict_json import read_text

__all__ = ["read_table", "write_table"]

COLUMNS = ("rank", "id", "score", "prediction", "confidence", "answer", "skip")


def write_table(path: Path, questions: Sequence[Question], vocabulary: Vocabulary, pictures: Path) -> None:
    rows = [(q.rank, q.sample, q.score, _cell(q.prediction), q.confidence, None, None) for q in questions]
    write_atomic(path, csv_text([COLUMNS, *rows], "\t" if path.suffix.lower() == ".tsv" else ","))


def read_table(path: Path, vocabulary: Vocabulary) -> Answers:
    """Rows with an answer or a reason to skip; rows with neither are still open."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=_delimiter(path), strict=True)
    answers = Answers()
    head: list[str] | None = None
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            answers.broken.append(f"line {reader.line_num}: {error}")
            continue
        if row is None:
            break
        if head is None:
            head = _head(path, row)
        elif any(cell.strip() for cell in row):
            _take(answers, dict(zip(head, row, strict=False)), f"line {reader.line_num}", vocabulary)
    if head is None:
        raise DataError(f"{path} is empty; expected a first line with the columns id and answer")
    return answers


def _take(answers: Answers, row: dict[str, str], where: str, vocabulary: Vocabulary) -> None:
    sample = plain(row.get("id", ""))
    answer, skip = plain(row.get("answer", "")), plain(row.get("skip", "")).strip()
    if not sample:
        answers.broken.append(f"{where}: no id")
    elif answer.strip() and skip:
        answers.broken.append(f"{where}: {sample} has both an answer and a reason to skip")
    elif skip:
        answers.given.append(Given(sample, None, where, skip))
    elif answer.strip():
        try:
            answers.given.append(Given(sample, vocabulary.checked(_value(answer, vocabulary)), where))
        except DataError as error:
            answers.broken.append(f"{where}: {sample}: {error}")


def _value(cell: str, vocabulary: Vocabulary) -> Any:
    if vocabulary.task == "classification":
        return cell if cell in vocabulary.names else cell.strip()
    try:
        return json.loads(cell.strip().removeprefix("+"))
    except ValueError:
        raise DataError(f"{cell!r} is no JSON") from None


def _cell(answer: Any) -> str | None:
    return answer if isinstance(answer, str) or answer is None else json.dumps(answer)


def _head(path: Path, row: list[str]) -> list[str]:
    head = [cell.strip().lower() for cell in row]
    if "id" not in head or not {"answer", "skip"} & set(head):
        raise DataError(f"{path} has the columns {', '.join(head)}; expected are id and answer, or id and skip")
    if len(set(head)) != len(head):
        raise DataError(f"{path} has a column twice: {', '.join(head)}")
    return head


def _delimiter(path: Path) -> str:
    """Comma, semicolon (spreadsheets of many languages) or tab: whichever cuts an `id` out of the first line."""
    first = read_text(path).partition("\n")[0].lower()
    return next((mark for mark in ",;\t" if "id" in [c.strip(' "\r') for c in first.split(mark)]), ",")
