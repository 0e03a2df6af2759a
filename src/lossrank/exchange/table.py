"""CSV: columns `id`, `answer` and `skip`, and for people more.

Questions have `rank`, `score`, `prediction` and `confidence` too, answers `source` and `time`.

A cell that a spreadsheet would take for a formula is written with an apostrophe before it, and read without.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lossrank.csv_rows import CsvTable, read_csv
from lossrank.errors import DataError
from lossrank.exchange.answers import Answers, Given, Question, Vocabulary, skip_reason, source_of
from lossrank.folder import write_atomic
from lossrank.spreadsheet import csv_text, plain

__all__ = ["read_table", "write_answer_table", "write_table"]

COLUMNS = ("rank", "id", "score", "prediction", "confidence", "answer", "skip")
ANSWER_COLUMNS = ("id", "answer", "skip", "source", "time")
EXPECTED = "expected are id and answer, or id and skip"


def write_table(path: Path, questions: Sequence[Question], vocabulary: Vocabulary, pictures: Path) -> None:
    _write(
        path, COLUMNS, [(q.rank, q.sample, q.score, _cell(q.prediction), q.confidence, None, None) for q in questions]
    )


def write_answer_table(path: Path, answers: Sequence[Given], vocabulary: Vocabulary, pictures: Path) -> None:
    _write(path, ANSWER_COLUMNS, [(g.sample, _cell(g.answer), g.skipped, g.source, g.time) for g in answers])


def read_table(path: Path, vocabulary: Vocabulary) -> Answers:
    """Rows with an answer or a skip; rows with neither are still open."""
    table = read_csv(path, ("id",), EXPECTED, short_rows=True)
    if not table.column("answer") and not table.column("skip"):
        raise DataError(f"{path} has the columns {', '.join(table.columns)}; {EXPECTED}")
    answers = Answers()
    broken = [(line, f"line {line}: {reason}") for line, reason in table.broken]
    for row in table.rows:
        where = f"line {row.line}"
        id_, answer, skip, source = (plain(row.cells.get(column, "")) for column in _columns(table))
        try:
            given = _given(id_, answer, skip, vocabulary)
        except DataError as error:
            broken.append((row.line, f"{where}: {error}"))
        else:
            if given is not None:
                answers.given.append(Given(id_, given[0], where, given[1], source_of(source)))
    answers.broken.extend(reason for _, reason in sorted(broken))
    return answers


def _columns(table: CsvTable) -> Iterable[str]:
    return (table.column(name) or "" for name in ("id", "answer", "skip", "source"))


def _given(sample: str, answer: str, skip: str, vocabulary: Vocabulary) -> tuple[Any, str | None] | None:
    """The answer and the reason to skip, one of them; None of an open question."""
    if not sample.strip():
        raise DataError("no id")
    if any(end in cell.strip() for cell in (answer, skip) for end in "\r\n"):
        raise DataError(f"{sample}: an answer or a reason goes on over several lines: a stray quotation mark?")
    try:
        reason = skip_reason(skip)
        if answer.strip() and reason:
            raise DataError("has both an answer and a reason to skip")
        if reason:
            return None, reason
        return (vocabulary.parse(answer), None) if answer.strip() else None
    except DataError as error:
        raise DataError(f"{sample}: {error}") from None


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    write_atomic(path, csv_text([columns, *rows], "\t" if path.suffix.lower() == ".tsv" else ","))


def _cell(answer: Any) -> str | None:
    return answer if isinstance(answer, str) or answer is None else json.dumps(answer)
