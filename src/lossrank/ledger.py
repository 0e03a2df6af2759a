"""The ledger: what was asked and what was answered. Append-only, and the only memory of a choice.

One table of events, in SQLite with a write-ahead log and full synchronisation: what a call has returned from is on
disk. Events are never changed or deleted (triggers refuse it); the present state is derived from them. What was done
by mistake is taken back by an `undo`, an event of its own that names the event it takes back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from lossrank.errors import LedgerError, listed
from lossrank.ledger_format import FORMAT, bring_up
from lossrank.requirements import require_choices, require_strings

__all__ = ["Choice", "Event", "Kind", "Ledger", "SampleId"]

SampleId = str
"""What a user calls a sample: a file name, a key. Never a position."""

Kind = Literal["add", "ask", "answer", "revise", "skip", "retire", "undo"]
UNDOABLE = ("answer", "revise", "skip", "retire")


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
                bring_up(connection)
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

    def together(self) -> AbstractContextManager[None]:
        """Several calls as one: all of them are kept, or none."""
        return self._writing()

    def add(self, ids: Iterable[SampleId], source: str) -> int:
        """Note samples that may be asked about from now on; returns how many of them are new."""
        ids = require_strings("ids", ids)
        with self._writing():
            known = self.added()
            new = sorted(set(ids) - known)
            self._append(("add", sample, None, None, None, None, source) for sample in new)
        return len(new)

    def ask(
        self,
        batch: int | None,
        choices: Sequence[tuple[SampleId, float | None]],
        reason: str,
        digests: Mapping[SampleId, str] | None = None,
    ) -> int:
        """Write a batch of questions down, before anyone is asked. Repeated word for word, it changes nothing.

        Args:
            batch: its number, which is returned; None: the next one.
            digests: of what is asked about, so that a change of it is noticed when the answer comes.

        Raises:
            LedgerError: the batch holds other questions already, or a sample was asked in another batch.
        """
        choices = require_choices(choices)
        ids = [sample for sample, _ in choices]
        if len(set(ids)) != len(ids):
            raise LedgerError(f"batch {batch} asks twice: {listed(sorted({i for i in ids if ids.count(i) > 1}))}")
        words = {sample: json.dumps(digest) for sample, digest in (digests or {}).items()}
        with self._writing():
            batch = self.batches() if batch is None else batch
            known = [choice.sample for choice in self.batch(batch)]
            if known:
                if known != ids:
                    raise LedgerError(f"batch {batch} was written down with other samples: {listed(known)}")
                return batch
            self._refuse(ids, "ask", "were asked in an earlier batch")
            self._refuse(ids, "retire", "were retired")
            self._append(
                ("ask", sample, batch, rank, score, words.get(sample), reason)
                for rank, (sample, score) in enumerate(choices)
            )
        return batch

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
        self.revise_all({sample: value}, source)

    def revise_all(self, answers: Mapping[SampleId, Any], source: str) -> None:
        """Correct answers, all of them or none; errors as `revise`. What is the current answer already changes nothing.

        Raises:
            LedgerError: samples that have no answer yet.
        """
        with self._writing():
            known = self._values("answer")
            unknown = sorted(answers.keys() - known.keys())
            if unknown:
                what = f"sample {unknown[0]!r} has" if len(unknown) == 1 else f"{len(unknown)} samples have"
                more = "" if len(unknown) == 1 else f": {listed(unknown)}"
                raise LedgerError(f"{what} no answer to revise{more}")
            current = known | self._values("revise")
            self._append(
                ("revise", sample, None, None, None, json.dumps(value), source)
                for sample, value in answers.items()
                if current[sample] != value
            )

    def undo(self, ids: Sequence[SampleId] | None, source: str) -> list[Event]:
        """Take back the latest answer, correction, skip or retirement of each sample, by a new entry; returns them.

        Args:
            ids: of which samples; None: all that the latest such call wrote down, a file of answers for instance.

        Raises:
            LedgerError: a sample has nothing that could be taken back.
        """
        ids = None if ids is None else require_strings("ids", ids)
        with self._writing():
            found = self._latest_call() if ids is None else [self._latest(sample) for sample in ids]
            if not found:
                raise LedgerError(f"{self.path} holds nothing to take back")
            now = _now()
            self._connection.executemany(
                "INSERT INTO event (time, kind, sample, undoes, source) VALUES (?, 'undo', ?, ?, ?)",
                ((now, event.sample, event.number, source) for event in found),
            )
        return found

    def _latest(self, sample: SampleId) -> Event:
        marks = ", ".join("?" * len(UNDOABLE))
        found = self._events(
            f"WHERE sample = ? AND kind IN ({marks}) ORDER BY number DESC LIMIT 1", (sample, *UNDOABLE)
        )
        if not found:
            raise LedgerError(f"sample {sample!r} has no answer, correction, skip or retirement to take back")
        return found[0]

    def _latest_call(self) -> list[Event]:
        """The events of one call share time, kind and source."""
        marks = ", ".join("?" * len(UNDOABLE))
        last = self._events(f"WHERE kind IN ({marks}) ORDER BY number DESC LIMIT 1", UNDOABLE)
        if not last:
            return []
        return self._events(
            "WHERE time = ? AND kind = ? AND source = ? ORDER BY number", (last[0].time, last[0].kind, last[0].source)
        )

    def _events(self, rest: str, values: Sequence[Any]) -> list[Event]:
        """Events that were not taken back."""
        return list(_read(self._connection.execute(f"SELECT {COLUMNS} FROM live {rest}", tuple(values))))

    def skip(self, ids: Sequence[SampleId], reason: str) -> None:
        """Note that a labeller would not or could not answer. An answer may still come.

        Raises:
            LedgerError: a sample was never asked.
        """
        ids = require_strings("ids", ids)
        with self._writing():
            if unasked := sorted(set(ids) - self.asked()):
                raise LedgerError(f"{len(unasked)} samples were never asked and cannot be skipped: {listed(unasked)}")
            self._append(("skip", sample, None, None, None, None, reason) for sample in ids)

    def retire(self, ids: Sequence[SampleId], reason: str) -> None:
        """Take samples out of the pool for good: they are never asked again."""
        ids = require_strings("ids", ids)
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
                   SELECT value FROM live WHERE sample = ask.sample AND kind IN ('answer', 'revise')
                   ORDER BY number DESC LIMIT 1
               ) AS current
               FROM event AS ask
               WHERE ask.kind = 'ask' AND current IS NOT NULL AND (? IS NULL OR ask.batch <= ?)
               ORDER BY ask.batch, ask.rank""",
            (up_to_batch, up_to_batch),
        )
        return {sample: json.loads(value) for sample, value in rows}

    def batches(self) -> int:
        """How many batches were asked; the next one has this number."""
        (last,) = self._connection.execute("SELECT MAX(batch) FROM event WHERE kind = 'ask'").fetchone()
        return 0 if last is None else int(last) + 1

    def added(self) -> set[SampleId]:
        """Every sample that `add` noted."""
        return {sample for (sample,) in self._connection.execute("SELECT sample FROM event WHERE kind = 'add'")}

    def digests(self) -> dict[SampleId, str]:
        """The digest of each sample that was asked with one."""
        return {sample: digest for sample, digest in self._values("ask").items() if digest is not None}

    def counts(self) -> dict[str, int]:
        """How many events of each kind stand: those that were taken back, and the taking back, left out."""
        rows = self._connection.execute(
            "SELECT kind, COUNT(DISTINCT sample) FROM live WHERE kind <> 'undo' GROUP BY kind"
        )
        return dict(rows.fetchall())

    def first_answers(self) -> dict[SampleId, Any]:
        """Answers as they were first given, before any correction."""
        return self._values("answer")

    def asked(self, up_to_batch: int | None = None) -> set[SampleId]:
        """Every sample asked, answered or not; those of later batches left out."""
        rows = self._connection.execute(
            "SELECT sample FROM event WHERE kind = 'ask' AND (? IS NULL OR batch <= ?)",
            (up_to_batch, up_to_batch),
        )
        return {sample for (sample,) in rows}

    def scored(self) -> set[SampleId]:
        """Every sample that was asked for its score; the others were drawn or spread, whatever their loss."""
        rows = self._connection.execute("SELECT sample FROM event WHERE kind = 'ask' AND score IS NOT NULL")
        return {sample for (sample,) in rows}

    def open_questions(self) -> tuple[SampleId, ...]:
        """Asked, and neither answered nor skipped nor retired since; in the order in which they were asked."""
        rows = self._connection.execute(
            """SELECT sample FROM event WHERE kind = 'ask' AND sample NOT IN (
                   SELECT sample FROM live WHERE kind IN ('answer', 'skip', 'retire')
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
        yield from _read(self._connection.execute(f"SELECT {COLUMNS} FROM event ORDER BY number"))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, or part of the open one; an error takes all of it back, and what was there before stays."""
        if self._connection.in_transaction:
            yield
            return
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
        now = _now()
        self._connection.executemany(
            "INSERT INTO event (time, kind, sample, batch, rank, score, value, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((now, *event) for event in events),
        )

    def _refuse(self, ids: Iterable[SampleId], kind: Kind, what: str) -> None:
        found = sorted(set(ids) & self._sources(kind).keys())
        if found:
            raise LedgerError(f"{len(found)} samples {what}: {listed(found)}")

    def _values(self, kind: Kind) -> dict[SampleId, Any]:
        rows = self._connection.execute(
            "SELECT sample, value FROM live WHERE kind = ? AND value IS NOT NULL ORDER BY number", (kind,)
        )
        return {sample: json.loads(value) for sample, value in rows}

    def _sources(self, kind: Kind) -> dict[SampleId, str]:
        return dict(self._connection.execute("SELECT sample, source FROM live WHERE kind = ? ORDER BY number", (kind,)))


COLUMNS = "number, time, kind, sample, batch, rank, score, value, source, undoes"


def _read(rows: Iterable[tuple[Any, ...]]) -> Iterator[Event]:
    for number, time, kind, sample, batch, rank, score, value, source, undoes in rows:
        answer = None if value is None else json.loads(value)
        yield Event(number, time, kind, sample, batch, rank, score, answer, source, undoes)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
