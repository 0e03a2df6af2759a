"""The ledger: what was asked and what was answered. Append-only, and the only memory of a choice.

One table of events, in SQLite with a write-ahead log and full synchronisation: what a call has returned from is on
disk. Events are never changed or deleted (triggers refuse it); the present state is derived from them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from lossrank.errors import LedgerError, listed

__all__ = ["Choice", "Event", "Ledger", "SampleId"]

SampleId = str
"""What a user calls a sample: a file name, a key. Never a position."""

Kind = Literal["ask", "answer", "revise", "skip", "retire"]
FORMAT = 1  # PRAGMA user_version; raised when an older version could no longer read a ledger

SCHEMA = """
CREATE TABLE event (
    number  INTEGER PRIMARY KEY,
    time    TEXT NOT NULL,                  -- UTC, ISO 8601
    kind    TEXT NOT NULL CHECK (kind IN ('ask', 'answer', 'revise', 'skip', 'retire')),
    sample  TEXT NOT NULL,
    batch   INTEGER,                        -- of an ask: which batch of questions
    rank    INTEGER,                        -- of an ask: place in the batch, 0 = asked first
    score   REAL,                           -- of an ask: the strategy's score, if it has one
    value   TEXT,                           -- of an answer: JSON
    source  TEXT NOT NULL                   -- who or why
);
CREATE UNIQUE INDEX asked_once ON event (sample) WHERE kind = 'ask';
CREATE UNIQUE INDEX answered_once ON event (sample) WHERE kind = 'answer';
CREATE INDEX by_kind ON event (kind, sample);
CREATE INDEX by_batch ON event (batch, rank) WHERE kind = 'ask';
CREATE TRIGGER never_changed BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER never_deleted BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


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


class Ledger:
    """Questions and answers of one run or project. Every method that writes is one transaction."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """Open the ledger at `path`, or begin one.

        Raises:
            LedgerError: the file is no ledger, was written by a newer version, or cannot be opened.
        """
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=10)
            connection.execute("PRAGMA synchronous = FULL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > FORMAT:
                raise LedgerError(f"{path} has format {version}, from a newer lossrank; this one reads up to {FORMAT}")
            if version < FORMAT:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        except sqlite3.Error as error:
            raise LedgerError(f"{path} cannot be opened as a ledger: {error}") from error
        return cls(connection, path)

    def close(self) -> None:
        """Close the file. Nothing is pending: every write was complete when it returned."""
        self._connection.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, batch: int, choices: Sequence[tuple[SampleId, float | None]], reason: str) -> None:
        """Write a batch of questions down, before anyone is asked. Repeated word for word, it changes nothing.

        Raises:
            LedgerError: the batch holds other questions already, or a sample was asked in another batch.
        """
        ids = [sample for sample, _ in choices]
        if len(set(ids)) != len(ids):
            raise LedgerError(f"batch {batch} asks twice: {listed(sorted({i for i in ids if ids.count(i) > 1}))}")
        with self._writing():
            known = [choice.sample for choice in self.batch(batch)]
            if known:
                if known != ids:
                    raise LedgerError(f"batch {batch} was written down with other samples: {listed(known)}")
                return
            self._refuse(ids, "ask", "were asked in an earlier batch")
            self._refuse(ids, "retire", "were retired")
            self._append(
                ("ask", sample, batch, rank, score, None, reason) for rank, (sample, score) in enumerate(choices)
            )

    def answer(self, answers: Mapping[SampleId, Any], source: str) -> None:
        """Take in answers, plain JSON each. The same answer again changes nothing.

        Raises:
            LedgerError: a sample was never asked, or has another answer already (`revise` corrects one).
        """
        with self._writing():
            asked, known = self.asked(), self._values("answer")
            unasked = sorted(answers.keys() - asked)
            if unasked:
                raise LedgerError(f"{len(unasked)} answers are for samples never asked: {listed(unasked)}")
            other = sorted(i for i, value in answers.items() if i in known and known[i] != value)
            if other:
                raise LedgerError(
                    f"{len(other)} samples have another answer already: {listed(other)}; revise corrects one"
                )
            new = {sample: value for sample, value in answers.items() if sample not in known}
            self._append(
                ("answer", sample, None, None, None, json.dumps(value), source) for sample, value in new.items()
            )

    def revise(self, sample: SampleId, value: Any, source: str) -> None:
        """Correct an answer; both stay in the history.

        Raises:
            LedgerError: the sample has no answer yet.
        """
        with self._writing():
            if sample not in self._values("answer"):
                raise LedgerError(f"sample {sample!r} has no answer to revise")
            self._append([("revise", sample, None, None, None, json.dumps(value), source)])

    def skip(self, ids: Sequence[SampleId], reason: str) -> None:
        """Note that a labeller would not or could not answer. An answer may still come."""
        with self._writing():
            self._append(("skip", sample, None, None, None, None, reason) for sample in ids)

    def retire(self, ids: Sequence[SampleId], reason: str) -> None:
        """Take samples out of the pool for good: they are never asked again."""
        with self._writing():
            retired = self.retired()
            new = [sample for sample in ids if sample not in retired]
            self._append(("retire", sample, None, None, None, None, reason) for sample in new)

    def batch(self, batch: int) -> tuple[Choice, ...]:
        """The questions of a batch, the one to answer first in front; empty if it was never asked."""
        rows = self._connection.execute(
            "SELECT sample, score, rank FROM event WHERE kind = 'ask' AND batch = ? ORDER BY rank", (batch,)
        )
        return tuple(Choice(*row) for row in rows)

    def labelled(self, up_to_batch: int | None = None) -> dict[SampleId, Any]:
        """Current answers, in the order in which they were asked; those of later batches left out."""
        rows = self._connection.execute(
            """SELECT ask.sample, (
                   SELECT value FROM event WHERE sample = ask.sample AND kind IN ('answer', 'revise')
                   ORDER BY number DESC LIMIT 1
               ) AS current
               FROM event AS ask
               WHERE ask.kind = 'ask' AND current IS NOT NULL AND (? IS NULL OR ask.batch <= ?)
               ORDER BY ask.batch, ask.rank""",
            (up_to_batch, up_to_batch),
        )
        return {sample: json.loads(value) for sample, value in rows}

    def asked(self, up_to_batch: int | None = None) -> set[SampleId]:
        """Every sample asked, answered or not; those of later batches left out."""
        rows = self._connection.execute(
            "SELECT sample FROM event WHERE kind = 'ask' AND (? IS NULL OR batch <= ?)",
            (up_to_batch, up_to_batch),
        )
        return {sample for (sample,) in rows}

    def open_questions(self) -> tuple[SampleId, ...]:
        """Asked, and neither answered nor skipped nor retired since; in the order in which they were asked."""
        rows = self._connection.execute(
            """SELECT sample FROM event WHERE kind = 'ask' AND sample NOT IN (
                   SELECT sample FROM event WHERE kind IN ('answer', 'skip', 'retire')
               ) ORDER BY batch, rank"""
        )
        return tuple(sample for (sample,) in rows)

    def skipped(self) -> dict[SampleId, str]:
        """Skipped and not answered since, with the reason."""
        answered = self._values("answer")
        return {i: why for i, why in self._sources("skip").items() if i not in answered}

    def retired(self) -> dict[SampleId, str]:
        """Retired samples with the reason."""
        return self._sources("retire")

    def history(self) -> Iterator[Event]:
        """Every event, oldest first."""
        rows = self._connection.execute(
            "SELECT number, time, kind, sample, batch, rank, score, value, source FROM event ORDER BY number"
        )
        for number, time, kind, sample, batch, rank, score, value, source in rows:
            answer = None if value is None else json.loads(value)
            yield Event(number, time, kind, sample, batch, rank, score, answer, source)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction; an error takes all of it back, and what was there before stays."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._take_back()
            raise LedgerError(
                f"{self.path} could not be written: {error}. Everything written before is safe; nothing of this "
                "call was kept"
            ) from error
        except BaseException:
            self._take_back()
            raise

    def _take_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _append(self, events: Iterable[tuple[Any, ...]]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._connection.executemany(
            "INSERT INTO event (time, kind, sample, batch, rank, score, value, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((now, *event) for event in events),
        )

    def _refuse(self, ids: Iterable[SampleId], kind: Kind, what: str) -> None:
        found = sorted(set(ids) & self._sources(kind).keys())
        if found:
            raise LedgerError(f"{len(found)} samples {what}: {listed(found)}")

    def _values(self, kind: Kind) -> dict[SampleId, Any]:
        rows = self._connection.execute("SELECT sample, value FROM event WHERE kind = ?", (kind,))
        return {sample: json.loads(value) for sample, value in rows}

    def _sources(self, kind: Kind) -> dict[SampleId, str]:
        return dict(self._connection.execute("SELECT sample, source FROM event WHERE kind = ?", (kind,)))
