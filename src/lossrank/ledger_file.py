"""Open a ledger's file: to be read and written, or, where its folder cannot be written, to be read."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lossrank.errors import LedgerError
from lossrank.ledger_format import FORMAT, migrate
from lossrank.ledger_integrity import check_events, log_size, verified_events

__all__ = ["Opened", "open_file"]

WAIT = 60.0  # seconds for another process to finish a command
UNWRITABLE = {
    sqlite3.SQLITE_PERM: "no permission",
    sqlite3.SQLITE_READONLY: "it or its folder is read-only",
    sqlite3.SQLITE_CANTOPEN: "its folder cannot be written",
    sqlite3.SQLITE_IOERR: "its folder cannot be written; the disk may be full",
    sqlite3.SQLITE_FULL: "the disk is full",
}


@dataclass
class Opened:
    """A connection to a ledger."""

    connection: sqlite3.Connection
    read_only: str | None = None
    """Why nothing can be written; None where it can."""
    verified: int | None = None
    """The number of the last event in the file where its checksum agreed; None where each event was checked."""
    pending: bool = False
    """Whether the write-ahead log held events."""
    copy: tempfile.TemporaryDirectory[str] | None = None
    """What the connection reads in place of a file that cannot be opened where it is."""

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
        if self.copy is not None:
            self.copy.cleanup()


def open_file(path: Path) -> Opened:
    """Open the ledger at `path`, or begin one, and check that it is as it was written.

    Raises:
        LedgerError: it is damaged, no ledger, of a newer version, or cannot be opened.
    """
    verified, pending = verified_events(path), log_size(path) > 0
    try:
        try:
            opened = Opened(_connected(path, path))
        except sqlite3.OperationalError as error:
            reason = UNWRITABLE.get(error.sqlite_errorcode & 0xFF)
            if reason is None or not path.exists():
                raise
            opened = _to_read(path, reason)
        opened.verified, opened.pending = verified, pending
        if pending or verified is None:
            try:
                check_events(opened.connection, path, verified)
            except BaseException:
                opened.close()
                raise
    except (sqlite3.Error, UnicodeDecodeError, OSError) as error:  # a message of SQLite may quote what it found
        raise LedgerError(f"{path} cannot be opened as a ledger: {error}") from error
    return opened


def _connected(file: Path | str, path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, timeout=WAIT, uri=isinstance(file, str))
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # `merge_log` renews the checksum with the file
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise LedgerError(f"{path} has format {version}, from a newer lossrank; this one reads up to {FORMAT}")
        if version < FORMAT:
            migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _to_read(path: Path, reason: str) -> Opened:
    """The file as it lies, where nothing is pending beside it; else a copy, into which SQLite merges what is."""
    if not log_size(path):
        try:
            return Opened(_connected(f"{path.resolve().as_uri()}?immutable=1", path), reason)
        except sqlite3.OperationalError:
            pass  # of an older format, which is brought up in the copy
    copy = tempfile.TemporaryDirectory(prefix="lossrank-ledger-")
    try:
        for file in (path, path.with_name(path.name + "-wal")):
            if file.exists():
                shutil.copyfile(file, Path(copy.name, file.name))
        return Opened(_connected(Path(copy.name, path.name), path), reason, copy=copy)
    except BaseException:
        copy.cleanup()
        raise
