"""Check that a ledger is as it was written: a checksum of the whole file, and one of each event.

A file beside a larger ledger holds the checksum of its bytes and the number of the last event in them. It is quick to
compare and is tried first. Writers merge the write-ahead log into the ledger when they close it or the log is long, and
renew the checksum; until then the file keeps its bytes, and only the events that the log adds are checked one by one.
All events and the indices are checked where the file has another checksum or none: a small ledger, one whose writer
was killed while it merged the log, or a damaged one.
"""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import suppress
from pathlib import Path

from lossrank.errors import LedgerError, RunError
from lossrank.folder import write_atomic
from lossrank.ledger_format import SCHEMA, STORED, checksum, schema_text
from lossrank.regular import open_file, read_file

__all__ = ["check_events", "last_event", "log_size", "merge_log", "note_checksum", "verified_events"]

LEAST = 1 << 18  # bytes from which on the file's own checksum is worth a file
BLOCK = 1 << 20
MARGIN = 100  # events; more than a page of 4 KiB holds: the log may hold the last page of the file again


def verified_events(path: Path) -> int | None:
    """The number of the last event in the file, where the file agrees with its checksum; else None."""
    try:
        if path.stat().st_size < LEAST:
            return None
        noted, last = read_file(_noted(path)).decode("ascii").rsplit(" ", 1)
        return int(last) if noted == _checksum_of(path) else None
    except (OSError, ValueError):
        return None


def log_size(path: Path) -> int:
    """Bytes of the write-ahead log beside a ledger."""
    with suppress(OSError):
        return path.with_name(path.name + "-wal").stat().st_size
    return 0


def merge_log(connection: sqlite3.Connection, path: Path, verified: int | None) -> int | None:
    """Merge the write-ahead log into a ledger that was checked, and write the checksum of the file.

    Nobody is waited for: what another process holds back stays in the log.

    Args:
        verified: the number of the last event in the file before.

    Returns:
        That number now; None where no checksum was written.
    """
    with suppress(sqlite3.Error):
        last = last_event(connection)
        (wait,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {wait}")
        return note_checksum(path, (verified or 0) if busy else last)
    return None


def note_checksum(path: Path, last: int) -> int | None:
    """Write the checksum of a ledger that was checked and whose last event in the file is `last`; None if not."""
    with suppress(OSError, RunError):
        if path.stat().st_size >= LEAST:
            write_atomic(_noted(path), f"{_checksum_of(path)} {last}\n")
            return last
    return None


def last_event(connection: sqlite3.Connection) -> int:
    """The number of the last event; 0 of none."""
    ((last,),) = connection.execute("SELECT IFNULL(MAX(number), 0) FROM event")
    return int(last)


def check_events(connection: sqlite3.Connection, path: Path, verified: int | None) -> None:
    """Check definitions, events and indices.

    Args:
        verified: the number of the last event that the file's checksum covers: only later ones are checked. None: all
            are, and the indices.

    Raises:
        LedgerError: something is not as it was written; names the first event concerned.
    """
    way_out = "Bring the file back from a copy; an export of answers can be ingested into a new project"
    wrong = [name for name, text in SCHEMA.items() if schema_text(connection).get(name) != text]
    if wrong:
        raise LedgerError(f"{path} is damaged: the definition of {wrong[0]} was changed. {way_out}")
    first = (verified or 0) - MARGIN
    events = connection.execute(f"SELECT checksum, {STORED} FROM event WHERE number > ? ORDER BY number", (first,))
    while rows := events.fetchmany(10_000):
        for noted, *event in rows:
            if noted != checksum(tuple(event)):
                number, time, kind, sample = event[:4]
                raise LedgerError(
                    f"{path} is damaged: event {number} ({kind} of {sample!r}, {time}) is not as it was written. "
                    f"{way_out}"
                )
    if verified is not None:
        return
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise LedgerError(f"{path} is damaged: {verdict}. {way_out}")


def _noted(path: Path) -> Path:
    return path.with_name(path.name + ".crc32")


def _checksum_of(path: Path) -> str:
    found, size = 0, 0
    with open_file(path) as file:
        while block := file.read(BLOCK):
            found, size = zlib.crc32(block, found), size + len(block)
    return f"{found:08x} {size}"
