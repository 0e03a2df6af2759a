"""Queries on a ledger's table of events, and the errors of a file that cannot be read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lossrank.errors import LedgerError
from lossrank.ledger_events import Event, SampleId
from lossrank.ledger_format import UNDOABLE

__all__ = ["COLUMNS", "MARKS", "LedgerQueries"]

COLUMNS = "number, time, kind, sample, batch, rank, score, value, source, undoes, until"
MARKS = ", ".join("?" * len(UNDOABLE))
ONE_UNDO = "kind = 'undo' AND until IS NULL"
COMMAND_UNDO = "kind = 'undo' AND until IS NOT NULL"
# The numbers between the commands that were taken back, which do not overlap: a scan passes over what they hold.
STANDING_COMMANDS = f"""(
    SELECT IFNULL(LAG(until) OVER (ORDER BY undoes), 0) + 1 AS low, undoes - 1 AS high FROM event WHERE {COMMAND_UNDO}
    UNION ALL SELECT IFNULL(MAX(until), 0) + 1, {2**63 - 1} FROM event WHERE {COMMAND_UNDO}
)"""


class LedgerQueries:
    """A connection to a ledger's events."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path

    def _live(self, ids: Iterable[SampleId] | None = None) -> str:
        """The rows that were not taken back, of a kind that can be: the form that is read quickest.

        The view looks each event up and is for few samples; the others scan all events of a kind.
        """
        one, command = self._rows(
            f"SELECT EXISTS (SELECT 1 FROM event WHERE {ONE_UNDO}), EXISTS (SELECT 1 FROM event WHERE {COMMAND_UNDO})"
        )[0]
        if not (one or command):
            return "event"
        if ids is not None:
            return "live"
        single = f"AND NOT EXISTS (SELECT 1 FROM event AS undo WHERE undo.{ONE_UNDO} AND undo.undoes = event.number)"
        return (
            f"(SELECT event.* FROM {STANDING_COMMANDS} CROSS JOIN event ON number BETWEEN low AND high "
            f"{single if one else ''})"
        )

    def _samples(self, query: str, *values: Any) -> set[SampleId]:
        with self._reading():
            return {sample for (sample,) in self._connection.execute(query, values)}

    def _dict(self, query: str, *values: Any) -> dict[Any, Any]:
        """Rows of a key and a value; of equal keys the last one counts."""
        with self._reading():
            return dict(self._connection.execute(query, values))

    def _count(self, query: str, *values: Any) -> int:
        ((count,),) = self._rows(query, *values)
        return int(count)

    def _among(self, ids: Iterable[SampleId] | None) -> str:
        """A condition on `sample`: one of these ids, which it puts into a temporary table; nothing for all samples."""
        if ids is None:
            return ""
        with self._reading():
            self._connection.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (sample TEXT PRIMARY KEY) WITHOUT ROWID")
            self._connection.execute("DELETE FROM wanted")
            self._connection.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((sample,) for sample in ids))
        return " AND sample IN (SELECT sample FROM wanted)"

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._reading():
            return self._connection.execute(query, values).fetchall()

    def _stream(self, query: str, *values: Any) -> Iterator[Any]:
        with self._reading():
            yield from self._connection.execute(query, values)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
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
