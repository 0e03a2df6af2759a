"""What is asked and what is answered, whatever file it stands in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from lossrank.errors import ConfigError, DataError, listed
from lossrank.ledger import SampleId

__all__ = ["VOCABULARIES", "Answers", "Given", "Question", "Vocabulary"]

VOCABULARIES: Mapping[str, tuple[str, str]] = {
    "classification": ("classes", "folders"),
    "pose": ("joints", "coco"),
    "counting": ("points", "points"),
    "regression": ("value", "csv"),
}
"""Of each kind of task: what its names are called, and the format that is its own beside CSV and JSONL."""


@dataclass(frozen=True)
class Question:
    """One sample of a batch, with what the model says of it."""

    sample: SampleId
    rank: int
    """1 = answer first."""
    score: float | None = None
    prediction: Any = None
    """In the form of an answer; None where there is no model yet."""
    confidence: float | None = None
    """Of the prediction, between 0 and 1, where the task has one."""


@dataclass(frozen=True)
class Given:
    """One answer, or one skip, and where it stood."""

    sample: SampleId
    answer: Any
    """In the task's form; None of a skip."""
    where: str
    skipped: str | None = None
    """Why nobody answered; None where somebody did."""


@dataclass(frozen=True)
class Answers:
    """What a file held."""

    given: list[Given] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """What could not be understood: where, and why."""


@dataclass(frozen=True)
class Vocabulary:
    """What an answer may be. Names are those of classes or joints.

    Raises:
        ConfigError: an unknown task, no names where some are needed, or names that repeat.
    """

    task: str
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.task not in VOCABULARIES:
            raise ConfigError(f"task {self.task!r} has no form of answers; possible are {listed(VOCABULARIES)}")
        least = {"classification": 2, "pose": 1}.get(self.task, 0)
        if len(self.names) < least or len(set(self.names)) != len(self.names) or "" in self.names:
            raise ConfigError(
                f"{VOCABULARIES[self.task][0]} are {list(self.names)}; needed are {least} or more different names"
            )

    @property
    def own_format(self) -> str:
        """The format that fits this task alone."""
        return VOCABULARIES[self.task][1]

    def checked(self, answer: Any) -> Any:
        """The answer in its plain form: a class name; [[x, y, v], ...] of the joints; [[x, y], ...]; a number.

        Raises:
            DataError: it is none.
        """
        if self.task == "classification":
            if answer not in self.names:
                raise DataError(f"{answer!r} is none of the {len(self.names)} classes: {listed(self.names, 20)}")
            return answer
        if self.task == "regression":
            return _number(answer)
        return self._joints(answer) if self.task == "pose" else _points(answer)

    def _joints(self, answer: Any) -> list[list[float | None]]:
        rows = answer.get("joints") if isinstance(answer, Mapping) else answer
        if not _is_list(rows) or len(rows) != len(self.names):
            found = f"{len(rows)} entries" if _is_list(rows) else f"a {type(rows).__name__}"
            raise DataError(f"an answer has {found}; expected [x, y, v] for each of {len(self.names)} joints")
        joints: list[list[float | None]] = []
        for name, row in zip(self.names, rows, strict=True):
            if not _is_list(row) or len(row) != 3 or row[2] not in (0, 1, 2):
                raise DataError(f"joint {name!r} is {row!r}; expected [x, y, v] with v of 0, 1 or 2")
            unseen = row[2] == 0
            joints.append([None if unseen and v is None else _number(v) for v in row[:2]] + [int(row[2])])
        return joints


def _points(answer: Any) -> list[list[float]]:
    rows = answer.get("points") if isinstance(answer, Mapping) else answer
    if not _is_list(rows):
        raise DataError(f"an answer is {rows!r}; expected a list of points [x, y]")
    for row in rows:
        if not _is_list(row) or len(row) != 2:
            raise DataError(f"a point is {row!r}; expected [x, y]")
    return [[_number(v) for v in row] for row in rows]


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{value!r} is no number")
    return value
