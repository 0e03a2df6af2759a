"""What is asked and what is answered, whatever file it stands in."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from lossrank.csv_rows import number_in, number_refusal
from lossrank.errors import ConfigError, DataError, listed
from lossrank.ledger import SampleId
from lossrank.names import NameIndex, normal
from lossrank.strict_json import finite, parse_strict

__all__ = ["VOCABULARIES", "Answers", "Given", "Question", "Vocabulary", "shown", "skip_reason", "source_of"]

LARGEST = 3e38  # of a float32, in which values are learned
# Booleans and missing values as spreadsheets, pandas and people write them.
OPEN = frozenset(
    {"false", "no", "n", "f", "0", "0.0", "off", "none", "null", "nan", "na", "n/a", "<na>", "-"}
    | {"falsch", "nein", "faux", "non", "falso", "onwaar", "nee", "falskt"}
)
SKIPPED = frozenset(
    {"true", "yes", "y", "t", "x", "1", "1.0", "on", "skip", "skipped"}
    | {"wahr", "ja", "vrai", "oui", "verdadero", "si", "sí", "vero", "verdadeiro", "sim", "waar", "sant"}
)

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
    percentile: float | None = None
    """Of the score among those of all candidates, 0 to 100."""


@dataclass(frozen=True)
class Given:
    """One answer, or one skip, and where it stood."""

    sample: SampleId
    answer: Any
    """In the task's form; None of a skip."""
    where: str
    skipped: str | None = None
    """Why nobody answered; None where somebody did."""
    source: str | None = None
    """Who answered or skipped, where the file says so."""
    time: str | None = None
    """When, in ISO 8601; known of what comes from a ledger."""


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
            return self.name_of(answer)
        if self.task == "regression":
            return _number(answer)
        return self._joints(answer) if self.task == "pose" else _points(answer)

    def prediction(self, value: Any) -> Any:
        """What a model predicted, in the form of an answer, or of points a count or `count` and `points`.

        None where it is none, after an edit of the joints for instance.
        """
        try:
            if self.task != "counting" or value is None:
                return None if value is None else self.checked(value)
            if not isinstance(value, Mapping):
                return _number(value)
            return {"count": _number(value.get("count")), "points": _points(value.get("points"))}
        except DataError:
            return None

    def parse(self, text: str) -> Any:
        """An answer that is typed into a cell or on the command line: a class, a number, or JSON. As `checked`.

        Raises:
            DataError: it is none.
        """
        if self.task == "classification":
            return self.checked(text if text in self.names else text.strip())
        if self.task != "regression":
            return self.checked(parse_strict(text, shown(text)))
        number = number_in(text)
        if number is None:
            raise DataError(f"{shown(text.strip())} is no number; {number_refusal(text)}")
        # An integer stays one, as JSON has it.
        return self.checked(int(text) if re.fullmatch(r"\s*[+-]?\d{1,15}\s*", text, re.ASCII) else number)

    def name_of(self, name: Any) -> str:
        """The class or joint of this name, however its letters are composed.

        Raises:
            DataError: there is none; the nearest ones are named.
        """
        found = NameIndex(self.names).find(name) if isinstance(name, str) else None
        if found is None:
            near = _nearest(str(name), self.names) if isinstance(name, str | int | float) else []
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            what = VOCABULARIES[self.task][0]
            raise DataError(f"{shown(name)} is none of the {len(self.names)} {what}: {listed(self.names, 20)}{hint}")
        return found

    def _joints(self, answer: Any) -> list[list[float | None]]:
        rows = answer.get("joints") if isinstance(answer, Mapping) else answer
        if not _is_list(rows) or len(rows) != len(self.names):
            found = f"{len(rows)} entries" if _is_list(rows) else f"a {type(rows).__name__}"
            raise DataError(f"an answer has {found}; expected [x, y, v] for each of {len(self.names)} joints")
        joints: list[list[float | None]] = []
        for name, row in zip(self.names, rows, strict=True):
            if not _is_list(row) or len(row) != 3 or isinstance(row[2], bool) or row[2] not in (0, 1, 2):
                raise DataError(f"joint {name!r} is {shown(row)}; expected [x, y, v] with v of 0, 1 or 2")
            unseen = row[2] == 0
            joints.append([None if unseen and v is None else _number(v) for v in row[:2]] + [int(row[2])])
        return joints


def skip_reason(value: Any) -> str | None:
    """Why a question was skipped; None where it was not. One rule for every format and every spreadsheet.

    `False`, 0, "no", "false", "nan", an empty cell and the like say that nobody skipped; `True`, 1 and "yes" that
    somebody did; any other text is the reason.

    Raises:
        DataError: a value that is none of these.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, str | bool | int | float) or (not isinstance(value, str) and value not in (0, 1)):
        raise DataError(f"skip is {shown(value)}; expected true, false or the reason")
    text = str(value).strip()
    word = text.casefold()
    if not text or word in OPEN:
        return None
    return "skipped" if word in SKIPPED else text


def source_of(value: Any) -> str | None:
    """Who answered, as a file says; None where it says nothing."""
    return value.strip() or None if isinstance(value, str) else None


def shown(value: Any) -> str:
    """A value for a message: in the form of Python, never a screenful."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, say
        return f"a {type(value).__name__} that is too large"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _nearest(name: str, names: Iterable[str]) -> list[str]:
    """Names that differ in case, spaces or composition alone, or else in few letters."""
    forms: dict[str, list[str]] = {}
    for known in names:
        forms.setdefault(_form(known), []).append(known)
    if _form(name) in forms:
        return forms[_form(name)]
    return [known for form in difflib.get_close_matches(_form(name)[:200], forms, n=3) for known in forms[form]]


def _form(name: str) -> str:
    """Of two names that a person takes for one: without case, spaces, `_` and `-`, and `1.0` for 1."""
    return re.sub(r"[\s_-]+", "", re.sub(r"^(\d+)\.0$", r"\1", normal(name).casefold().strip()))


def _points(answer: Any) -> list[list[float]]:
    rows = answer.get("points") if isinstance(answer, Mapping) else answer
    if not _is_list(rows):
        raise DataError(f"an answer is {shown(rows)}; expected a list of points [x, y]")
    for row in rows:
        if not _is_list(row) or len(row) != 2:
            raise DataError(f"a point is {shown(row)}; expected [x, y]")
    return [[_number(v) for v in row] for row in rows]


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _number(value: Any) -> float:
    """The number as it is, an integer or a float that float32 can hold."""
    number = finite(value)
    if number is None or abs(number) > LARGEST:
        hint = ""
        if isinstance(value, str):
            hint = (
                f"; {number_refusal(value)}" if number_in(value) is None else f"; write {value.strip()} without quotes"
            )
        raise DataError(f"{shown(value)} is no number{hint}" if number is None else f"{shown(value)} is too large")
    return value  # type: ignore[no-any-return]
