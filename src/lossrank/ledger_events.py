"""What a ledger holds: events, and what is derived from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Choice", "Correction", "Event", "Kind", "SampleId"]

SampleId = str
"""What a user calls a sample: a file name, a key. Never a position."""

Kind = Literal["add", "ask", "answer", "revise", "skip", "retire", "undo"]


@dataclass(frozen=True)
class Choice:
    """One question of a batch."""

    sample: SampleId
    score: float | None
    rank: int


@dataclass(frozen=True)
class Event:
    """One line of history."""

    number: int
    time: str
    kind: Kind
    sample: SampleId
    batch: int | None
    rank: int | None
    score: float | None
    value: Any
    source: str
    undoes: int | None = None


@dataclass(frozen=True)
class Correction:
    """A correction, or something that was taken back: what stood before, and what stands after."""

    time: str
    sample: SampleId
    kind: Kind
    """Of what was taken back; `revise` of a correction that was given."""
    undone: bool
    before: Any
    """The answer before; None where there was none."""
    after: Any
    source: str
