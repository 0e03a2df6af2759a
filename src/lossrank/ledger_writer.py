"""Writing to a ledger: transactions, and events with their numbers, times and checksums."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lossrank.errors import LedgerError
from lossrank.ledger_file import Opened
from lossrank.ledger_format import INSERT, checksum
from lossrank.ledger_integrity import last_event, log_size, merge_log, note_checksum
from lossrank.ledger_reader import LedgerReader

__all__ = ["LedgerWriter"]

LOG_LIMIT = 1 << 26  # bytes of the write-ahead log from which on a writer merges it into the file


class LedgerWriter(LedgerReader):
    """A ledger that is open to be written. Whoever wrote closes it with the checksum of its file."""

    def __init__(self, opened: Opened, path: Path) -> None:
        super().__init__(opened.connection, path)
        self._opened = opened
        self._now, self._wrote = "", False

    def close(self) -> None:
        """Close the file. Nothing is pending: every write was complete when it returned."""
        opened, last = self._opened, None
        if self._wrote:
            merge_log(self._connection, self.path, opened.verified)
        elif opened.read_only is None and (opened.pending or opened.verified is None):
            with suppress(sqlite3.Error):
                last = last_event(self._connection)
        opened.close()
        # The last reader's close merges what a killed writer left in the log.
        if last is not None and not log_size(self.path):
            note_checksum(self.path, last)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, or part of the open one; an error takes all of it back, and what was there before stays."""
        if self._connection.in_transaction:
            yield
            return
        if self._opened.read_only is not None:
            raise LedgerError(f"{self.path} can only be read: {self._opened.read_only}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._now = self._time_of_command()
            yield
            self._connection.execute("COMMIT")
            self._wrote = True
            if log_size(self.path) > LOG_LIMIT:
                self._opened.verified = merge_log(self._connection, self.path, self._opened.verified)
        except sqlite3.Error as error:
            self._take_back()
            raise LedgerError(
                f"{self.path} could not be written: {error}. Everything written before is safe; nothing of this "
                "call was kept"
            ) from error
        except UnicodeEncodeError as error:
            self._take_back()
            raise LedgerError(f"{error.object!a} is not UTF-8; nothing of this call was kept") from error
        except BaseException:
            self._take_back()
            raise

    def _take_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _time_of_command(self) -> str:
        """Now, or a microsecond later if the latest command has that time already."""
        now, latest = datetime.now(UTC), self._rows("SELECT time FROM event ORDER BY number DESC LIMIT 1")
        time = now.isoformat(timespec="microseconds")
        if latest and latest[0][0] == time:
            time = (now + timedelta(microseconds=1)).isoformat(timespec="microseconds")
        return time

    def _next_number(self) -> int:
        return last_event(self._connection) + 1

    def _append(self, events: Iterable[tuple[Any, ...]]) -> None:
        first = self._next_number()
        self._insert(
            (number, self._now, kind, sample, batch, rank, _plain(score), value, None, None, source)
            for number, (kind, sample, batch, rank, score, value, source) in enumerate(events, first)
        )

    def _insert(self, events: Iterable[tuple[Any, ...]]) -> None:
        self._connection.executemany(INSERT, ((*event, checksum(event)) for event in events))


def _plain(score: float | None) -> float | None:
    """The score as SQLite gives it back: no NaN, no negative zero."""
    return None if score is None or math.isnan(score) else float(score) + 0.0
