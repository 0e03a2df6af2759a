"""The history of a ledger: its events in order, corrections, and what was taken back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, overload

from lossrank.ledger_events import Correction, Event, SampleId
from lossrank.ledger_format import UNDOABLE
from lossrank.ledger_queries import COLUMNS, MARKS, LedgerQueries

__all__ = ["LedgerHistory", "Undone", "kinds_of"]


class LedgerHistory(LedgerQueries):
    """Events in the order in which they were written."""

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


def kinds_of(events: Sequence[Event]) -> Counter[tuple[str, str | None]]:
    """How many events of each kind, and from which source: None of what is no answer or correction."""
    if isinstance(events, Undone):
        return events.kinds()
    return Counter((e.kind, e.source if e.kind in ("answer", "revise") else None) for e in events)


class Undone(Sequence[Event]):
    """The events that one `undo` took back, oldest first. They are read when they are looked at."""

    def __init__(self, ledger: LedgerQueries, first: int, last: int, undo: int) -> None:
        self._ledger, self._values = ledger, (first, last, *UNDOABLE, undo)
        self._query = f"""FROM event AS one WHERE number BETWEEN ? AND ? AND +kind IN ({MARKS}) AND NOT EXISTS (
            SELECT 1 FROM event AS other WHERE other.kind = 'undo' AND other.until IS NULL
            AND other.undoes = one.number AND other.number < ?) ORDER BY number"""

    def __len__(self) -> int:
        return self._ledger._count(f"SELECT COUNT(*) {self._query}", *self._values)

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
