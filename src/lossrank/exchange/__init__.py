"""Questions and answers as files that any tool can read: one file for each format, and none of them needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lossrank.errors import ConfigError, DataError, listed
from lossrank.exchange.answers import VOCABULARIES, Answers, Given, Question, Vocabulary
from lossrank.exchange.coco import read_coco, write_answer_coco, write_coco
from lossrank.exchange.folders import read_folders, write_answer_folders, write_folders
from lossrank.exchange.lines import read_lines, write_answer_lines, write_lines
from lossrank.exchange.points import read_points, write_answer_points, write_points
from lossrank.exchange.table import read_table, write_answer_table, write_table

__all__ = [
    "FORMATS",
    "VOCABULARIES",
    "Answers",
    "Given",
    "Question",
    "Vocabulary",
    "format_of",
    "read_answers",
    "write_answers",
    "write_questions",
]

Reader = Callable[[Path, Vocabulary], Answers]
Writer = Callable[[Path, Sequence[Question], Vocabulary, Path], None]
AnswerWriter = Callable[[Path, Sequence[Given], Vocabulary, Path], None]

FORMATS: Mapping[str, tuple[Reader, Writer, AnswerWriter]] = {
    "csv": (read_table, write_table, write_answer_table),
    "jsonl": (read_lines, write_lines, write_answer_lines),
    "folders": (read_folders, write_folders, write_answer_folders),
    "coco": (read_coco, write_coco, write_answer_coco),
    "points": (read_points, write_points, write_answer_points),
}
"""Every format by name: how answers are read, how questions and how answers are written."""


def read_answers(path: Path, vocabulary: Vocabulary, form: str | None = None) -> Answers:
    """The answers in a file or in class folders. Lines that cannot be understood are listed, not raised.

    Raises:
        DataError: there is no such file, or it cannot be read at all.
    """
    if not path.exists():
        raise DataError(f"there is no file or folder {path} to take answers from")
    return FORMATS[format_of(path, vocabulary, form)][0](path, vocabulary)


def write_questions(
    path: Path, questions: Sequence[Question], vocabulary: Vocabulary, pictures: Path, form: str | None = None
) -> None:
    """Write questions, the one to answer first in front, with what the model says of each.

    Args:
        pictures: the folder that ids are paths below.

    Raises:
        RunError: the disk is full or read-only; what was there before is untouched.
    """
    FORMATS[format_of(path, vocabulary, form)][1](path, questions, vocabulary, pictures)


def write_answers(
    path: Path, answers: Sequence[Given], vocabulary: Vocabulary, pictures: Path, form: str | None = None
) -> None:
    """Write collected answers and skips, with who gave them and when; `read_answers` reads them back.

    Args:
        pictures: the folder that ids are paths below.

    Raises:
        RunError: the disk is full or read-only.
    """
    FORMATS[format_of(path, vocabulary, form)][2](path, answers, vocabulary, pictures)


def format_of(path: Path, vocabulary: Vocabulary, form: str | None = None) -> str:
    """The format that a path's ending names: .csv, .jsonl, .json (as the task has it), or a folder.

    Raises:
        ConfigError: an unknown format or ending, or one that cannot hold this task's answers.
    """
    if form is None:
        suffix = path.suffix.lower()
        form = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", "": "folders"}.get(suffix)
        if path.is_dir():
            form = "folders"
        elif suffix == ".json":
            form = {"pose": "coco", "counting": "points"}.get(vocabulary.task)
    possible = [name for name in FORMATS if name not in ("folders", "coco", "points") or name == vocabulary.own_format]
    if form not in possible:
        what = f"format {form!r}" if form else f"the ending of {path.name!r}"
        raise ConfigError(f"{what} does not fit task {vocabulary.task!r}; possible are {listed(possible)}")
    return form
