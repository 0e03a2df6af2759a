"""Reading a ledger: the present state, derived from its events."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from lossrank.errors import LedgerError
from lossrank.ledger_events import Choice, Correction, Event, Kind, SampleId
from lossrank.ledger_format import UNDOABLE

__all__ = ["MARKS", "LedgerReader", "Undone", "kinds_of"]

COLUMNS = "number, time, kind, sample, batch, rank, score, value, source, undoes, until"
MARKS = ", ".join("?" * len(UNDOABLE))


class LedgerReader:
    """The questions and answers of a run or project, to be read. Methods that take `ids` read those samples alone."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path

    def batch(self, batch: int) -> tuple[Choice, ...]:
        """The questions of a batch, the one to answer first in front; empty if it was never asked."""
        rows = self._rows("SELECT sample, score, rank FROM event WHERE kind = 'ask' AND batch = ? ORDER BY rank", batch)
        return tuple(Choice(*row) for row in rows)

    def labelled(self, up_to_batch: int | None = None, *, ids: Iterable[SampleId] | None = None) -> dict[SampleId, Any]:
        """Current answers, in the order in which they were asked; those of later batches left out."""
        among = self._among(ids)
        live = self._live()
        current = dict(self._rows(f"SELECT sample, value FROM {live} WHERE kind = 'answer'{among}"))
        current.update(self._rows(f"SELECT sample, value FROM {live} WHERE kind = 'revise'{among} ORDER BY number"))
        asked = self._rows(
            f"SELECT sample FROM event WHERE kind = 'ask' AND (?1 IS NULL OR batch <= ?1){among} ORDER BY batch, rank",
            up_to_batch,
        )
        decode = self._decoder()
        return {sample: decode(current[sample]) for (sample,) in asked if sample in current}

    def batches(self) -> int:
        """How many batches were asked; the next one has this number."""
        ((last,),) = self._rows("SELECT MAX(batch) FROM event WHERE kind = 'ask'")
        return 0 if last is None else int(last) + 1

    def added(self, ids: Iterable[SampleId] | None = None) -> set[SampleId]:
        """Every sample that `add` noted."""
        return self._samples(f"SELECT sample FROM event WHERE kind = 'add'{self._among(ids)}")

    def digests(self, ids: Iterable[SampleId] | None = None) -> dict[SampleId, str]:
        """The digest of each sample that was asked with one."""
        return {sample: digest for sample, digest in self._values("ask", ids).items() if digest is not None}

    def counts(self) -> dict[str, int]:
        """The number of samples with an event of each kind; what was taken back is left out."""
        found = {}
        for kind in ("add", "ask", *UNDOABLE):
            rows = "event" if kind in ("add", "ask") else self._live()  # the first two are never taken back
            samples = "DISTINCT sample" if kind in ("revise", "skip") else "*"  # a sample has at most one of the others
            ((found[kind],),) = self._rows(f"SELECT COUNT({samples}) FROM {rows} WHERE kind = ?", kind)
        return {kind: count for kind, count in found.items() if count}

    def first_answers(self, ids: Iterable[SampleId] | None = None) -> dict[SampleId, Any]:
        """Answers as they were first given, before any correction."""
        return self._values("answer", ids)

    def asked(self, up_to_batch: int | None = None, *, ids: Iterable[SampleId] | None = None) -> set[SampleId]:
        """Every sample asked, answered or not; those of later batches left out."""
        return self._samples(
            f"SELECT sample FROM event WHERE kind = 'ask' AND (?1 IS NULL OR batch <= ?1){self._among(ids)}",
            up_to_batch,
        )

    def reasons(self, ids: Iterable[SampleId]) -> dict[SampleId, str]:
        """Why each sample was asked; those never asked are left out."""
        return dict(self._rows(f"SELECT sample, source FROM event WHERE kind = 'ask'{self._among(ids)}"))

    def scored(self) -> set[SampleId]:
        """Every sample that was asked for its score; the others were drawn or spread, whatever their loss."""
        return self._samples("SELECT sample FROM event WHERE kind = 'ask' AND score IS NOT NULL")

    def open_questions(self) -> tuple[SampleId, ...]:
        """Asked, and neither answered nor skipped nor retired since; in the order in which they were asked."""
        rows = self._rows(
            f"""SELECT sample FROM event WHERE kind = 'ask' AND sample NOT IN (
                SELECT sample FROM {self._live()} WHERE kind IN ('answer', 'skip', 'retire')
            ) ORDER BY batch, rank"""
        )
        return tuple(sample for (sample,) in rows)

    def skipped(self, ids: Iterable[SampleId] | None = None) -> dict[SampleId, str]:
        """Skipped and not answered since, with the reason."""
        reasons = self._sources("skip", ids)
        answered = self._samples(f"SELECT sample FROM live WHERE kind = 'answer'{self._among(reasons)}")
        return {sample: why for sample, why in reasons.items() if sample not in answered}

    def retired(self, ids: Iterable[SampleId] | None = None) -> dict[SampleId, str]:
        """Retired samples with the reason."""
        return self._sources("retire", ids)

    def latest_kinds(self, ids: Iterable[SampleId]) -> dict[SampleId, Kind]:
        """Of each sample the kind of event that `undo` would take back; those that have none are left out."""
        among = self._among(ids)
        rows = self._rows(
            f"SELECT sample, kind, MAX(number) FROM live WHERE kind IN ({MARKS}){among} GROUP BY sample", *UNDOABLE
        )
        return {sample: kind for sample, kind, _ in rows}

    def history(self) -> Iterator[Event]:
        """Every event, oldest first. Of a command that was taken back, an event for each sample."""
        for row in self._stream(f"SELECT {COLUMNS} FROM event ORDER BY number"):
            *event, until = row
            if until is None:
                yield self._event(event)
            else:
                undo = self._event(event)
                for undone in Undone(self, undo.undoes or 0, until, undo.number):
                    yield replace(undo, sample=undone.sample, undoes=undone.number)

    def standing(self) -> Iterator[Event]:
        """Every answer, correction and skip that was not taken back, oldest first."""
        kinds = "kind IN ('answer', 'revise', 'skip')"
        for *row, _ in self._stream(f"SELECT {COLUMNS} FROM {self._live()} WHERE {kinds} ORDER BY number"):
            yield self._event(row)

    def last_source(self) -> str | None:
        """Who gave the latest answer, correction or skip; None before the first."""
        kinds = "+kind IN ('answer', 'revise', 'skip')"
        rows = self._rows(f"SELECT source FROM event WHERE {kinds} ORDER BY number DESC LIMIT 1")
        return rows[0][0] if rows else None

    def corrections(self, latest: int) -> list[Correction]:
        """The latest corrections, and what was taken back, the newest first."""
        found: list[Correction] = []
        query = f"SELECT {COLUMNS} FROM event WHERE +kind IN ('revise', 'undo') ORDER BY number DESC LIMIT ?"
        for *row, until in self._rows(query, latest):
            event = self._event(row)
            undone: Iterable[Event] = [event]
            if event.kind == "undo":
                first = event.undoes or 0
                undone = Undone(self, first, until or first, event.number).latest(latest - len(found))
            for one in undone:
                sample, back = one.sample, event.kind == "undo"
                before = self.answer_before(sample, event.number)
                after = self.answer_before(sample, event.number + 1) if back else event.value
                found.append(Correction(event.time, sample, one.kind, back, before, after, event.source))
            if len(found) >= latest:
                break
        return found[:latest]

    def answer_before(self, sample: SampleId, number: int) -> Any:
        """The sample's answer as it stood before event `number`; None if it had none."""
        rows = self._rows(
            """SELECT value FROM event AS one WHERE kind IN ('answer', 'revise') AND sample = ?1 AND number < ?2
                AND NOT EXISTS (SELECT 1 FROM event AS undo WHERE undo.kind = 'undo' AND undo.number < ?2
                    AND undo.undoes <= one.number AND IFNULL(undo.until, undo.undoes) >= one.number)
                ORDER BY number DESC LIMIT 1""",
            sample,
            number,
        )
        return json.loads(rows[0][0]) if rows else None

    def _numbered(self, numbers: Iterable[int]) -> list[Event]:
        """The events of these numbers."""
        return [
            self._event(row)
            for number in numbers
            for row in self._rows(f"SELECT {COLUMNS.removesuffix(', until')} FROM event WHERE number = ?", number)
        ]

    def _values(self, kind: Kind, ids: Iterable[SampleId] | None = None) -> dict[SampleId, Any]:
        among, live = self._among(ids), "event" if kind == "ask" else self._live()
        rows = self._rows(f"SELECT sample, value FROM {live} WHERE kind = ? AND value IS NOT NULL{among}", kind)
        decode = self._decoder()
        return {sample: decode(value) for sample, value in rows}

    def _sources(self, kind: Kind, ids: Iterable[SampleId] | None = None) -> dict[SampleId, str]:
        among = self._among(ids)
        return dict(self._rows(f"SELECT sample, source FROM live WHERE kind = ?{among} ORDER BY number", kind))

    def _live(self) -> str:
        """The table of what was not taken back; where nothing was, all events, which are read in half the time."""
        ((undone,),) = self._rows("SELECT EXISTS (SELECT 1 FROM event WHERE kind = 'undo')")
        return "live" if undone else "event"

    def _samples(self, query: str, *values: Any) -> set[SampleId]:
        return {sample for (sample,) in self._rows(query, *values)}

    def _among(self, ids: Iterable[SampleId] | None) -> str:
        """A condition on `sample`: one of these ids, which it puts into a temporary table; nothing for all samples."""
        if ids is None:
            return ""
        try:
            self._connection.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (sample TEXT PRIMARY KEY) WITHOUT ROWID")
            self._connection.execute("DELETE FROM wanted")
            self._connection.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((sample,) for sample in ids))
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error
        return " AND sample IN (SELECT sample FROM wanted)"

    def _rows(self, query: str, *values: Any) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    def _stream(self, query: str, *values: Any) -> Iterator[Any]:
        try:
            yield from self._connection.execute(query, values)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> LedgerError:
        return LedgerError(f"{self.path} could not be read: {error}. Bring it back from a copy if it is damaged")

    def _decoder(self) -> Any:
        """`json.loads` that decodes each string once: a million answers have few classes."""
        known: dict[str, str] = {}

        def decode(text: str) -> Any:
            if text in known:
                return known[text]
            value = json.loads(text)
            if isinstance(value, str) and len(known) < 10_000:
                known[text] = value
            return value

        return decode

    def _event(self, row: Sequence[Any]) -> Event:
        number, time, kind, sample, batch, rank, score, value, source, undoes = row
        answer = None if value is None else json.loads(value)
        return Event(number, time, kind, sample, batch, rank, score, answer, source, undoes)


def kinds_of(events: Sequence[Event]) -> Counter[tuple[str, str | None]]:
    """How many events of each kind, and from which source: None of what is no answer or correction."""
    if isinstance(events, Undone):
        return events.kinds()
    return Counter((e.kind, e.source if e.kind in ("answer", "revise") else None) for e in events)


class Undone(Sequence[Event]):
    """The events that one `undo` took back, oldest first. They are read when they are looked at."""

    def __init__(self, ledger: LedgerReader, first: int, last: int, undo: int) -> None:
        self._ledger, self._values = ledger, (first, last, *UNDOABLE, undo)
        self._query = f"""FROM event AS one WHERE number BETWEEN ? AND ? AND +kind IN ({MARKS}) AND NOT EXISTS (
            SELECT 1 FROM event AS other WHERE other.kind = 'undo' AND other.until IS NULL
            AND other.undoes = one.number AND other.number < ?) ORDER BY number"""

    def __len__(self) -> int:
        ((count,),) = self._ledger._rows(f"SELECT COUNT(*) {self._query}", *self._values)
        return int(count)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...

    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self._read(f"LIMIT {max(0, stop - start)} OFFSET {start}") if step == 1 else list(self)[index]
        back, offset = ("DESC", -1 - index) if index < 0 else ("ASC", index)
        found = self._read(f"{back} LIMIT 1 OFFSET {offset}")
        if not found:
            raise IndexError(index)
        return found[0]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._read(""))

    def kinds(self) -> Counter[tuple[str, str | None]]:
        """As `kinds_of`, counted by SQLite."""
        columns = "kind, CASE WHEN kind IN ('answer', 'revise') THEN source END"
        rows = self._ledger._rows(
            f"SELECT {columns}, COUNT(*) FROM (SELECT * {self._query}) GROUP BY 1, 2", *self._values
        )
        return Counter({(kind, source): count for kind, source, count in rows})

    def latest(self, count: int) -> list[Event]:
        """The last of them, the newest first."""
        return self._read(f"DESC LIMIT {max(0, count)}")

    def _read(self, order: str) -> list[Event]:
        query = f"SELECT {COLUMNS.removesuffix(', until')} {self._query} {order}"
        return [self._ledger._event(row) for row in self._ledger._rows(query, *self._values)]
