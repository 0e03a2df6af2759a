"""Whether a ledger is as it was written: a checksum of the whole file, and one of each event.

The checksum of the file is quick and is tried first. It stands in a file of its own beside a larger ledger, written
when a writer closes it. Where it is missing or does not agree, after a crash for instance, or while another process
writes, each event is checked, and the definitions and indices with them.
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

__all__ = ["check_events", "note_checksum", "unchanged"]

LEAST = 1 << 18  # bytes from which on the file's own checksum is worth a file
BLOCK = 1 << 20


def unchanged(path: Path) -> bool:
    """Whether the file agrees with the checksum that the last writer left beside it."""
    try:
        wal = path.with_name(path.name + "-wal")
        if path.stat().st_size < LEAST or (wal.exists() and wal.stat().st_size):
            return False
        return read_file(_noted(path)).decode("ascii") == _checksum_of(path)
    except (OSError, ValueError):
        return False


def note_checksum(connection: sqlite3.Connection, path: Path) -> None:
    """Write the checksum of a ledger whose events were checked when it was opened. Not while others have it open."""
    with suppress(OSError, RunError, sqlite3.Error):
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy and path.stat().st_size >= LEAST:
            write_atomic(_noted(path), _checksum_of(path))


def check_events(connection: sqlite3.Connection, path: Path) -> None:
    """Check definitions, indices and each event.

    Raises:
        LedgerError: something is not as it was written; names the first event concerned.
    """
    way_out = "Bring the file back from a copy; an export of answers can be ingested into a new project"
    wrong = [name for name, text in SCHEMA.items() if schema_text(connection).get(name) != text]
    if wrong:
        raise LedgerError(f"{path} is damaged: the definition of {wrong[0]} was changed. {way_out}")
    events = connection.execute(f"SELECT checksum, {STORED} FROM event ORDER BY number")
    while rows := events.fetchmany(10_000):
        for noted, *event in rows:
            if noted != checksum(tuple(event)):
                number, time, kind, sample = event[:4]
                raise LedgerError(
                    f"{path} is damaged: event {number} ({kind} of {sample!r}, {time}) is not as it was written. "
                    f"{way_out}"
                )
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
    return f"{found:08x} {size}\n"
