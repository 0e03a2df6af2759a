"""The ledger's table on disk, the checksum of an event, and how one of an older format becomes one of this format."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["FORMAT", "INSERT", "STORED", "UNDOABLE", "checksum", "migrate", "schema_text"]

FORMAT = 3  # PRAGMA user_version; raised when an older version could no longer read a ledger
UNDOABLE = ("answer", "revise", "skip", "retire")

STORED = "number, time, kind, sample, batch, rank, score, value, undoes, until, source"
"""The columns that a checksum covers, in its order."""
INSERT = f"INSERT INTO event ({STORED}, checksum) VALUES ({', '.join('?' * 12)})"

SCHEMA: Mapping[str, str] = {
    "event": """CREATE TABLE event (
        number   INTEGER PRIMARY KEY,
        time     TEXT NOT NULL,             -- UTC, ISO 8601; the events of one command share it
        kind     TEXT NOT NULL CHECK (kind IN ('add', 'ask', 'answer', 'revise', 'skip', 'retire', 'undo')),
        sample   TEXT NOT NULL,             -- empty where a whole command is taken back
        batch    INTEGER,                   -- of an ask: which batch of questions
        rank     INTEGER,                   -- of an ask: place in the batch, 0 = asked first
        score    REAL,                      -- of an ask: the strategy's score, if it has one
        value    TEXT,                      -- JSON: an answer; of an ask, a digest of what was asked about
        undoes   INTEGER,                   -- of an undo: the number of the event that it takes back
        until    INTEGER,                   -- of an undo of a command: the number of its last event
        source   TEXT NOT NULL,             -- who or why
        checksum INTEGER NOT NULL           -- CRC-32 of the columns before it
    )""",
    # Not unique for answers: an answer that was taken back may be given again. `answer` itself refuses a second one.
    "asked_once": "CREATE UNIQUE INDEX asked_once ON event (sample) WHERE kind = 'ask'",
    "added_once": "CREATE UNIQUE INDEX added_once ON event (sample) WHERE kind = 'add'",
    "undone_once": "CREATE UNIQUE INDEX undone_once ON event (undoes) WHERE kind = 'undo' AND until IS NULL",
    "undone_commands": """CREATE UNIQUE INDEX undone_commands ON event (undoes, until)
        WHERE kind = 'undo' AND until IS NOT NULL""",
    "by_kind": "CREATE INDEX by_kind ON event (kind)",
    "by_sample": "CREATE INDEX by_sample ON event (sample, kind)",
    "by_batch": "CREATE INDEX by_batch ON event (batch, rank, sample) WHERE kind = 'ask'",
    # Commands do not overlap, so only the latest one that begins at or before an event can hold it.
    "live": """CREATE VIEW live AS SELECT * FROM event AS one WHERE NOT EXISTS (
        SELECT 1 FROM event WHERE kind = 'undo' AND until IS NULL AND undoes = one.number
    ) AND (one.kind IN ('add', 'ask', 'undo') OR one.number > IFNULL((
        SELECT until FROM event WHERE kind = 'undo' AND until IS NOT NULL AND undoes <= one.number
        ORDER BY undoes DESC LIMIT 1
    ), 0))""",
    "never_changed": """CREATE TRIGGER never_changed BEFORE UPDATE ON event
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    "never_deleted": """CREATE TRIGGER never_deleted BEFORE DELETE ON event
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
}
OLDER: Mapping[int, tuple[tuple[str, ...], str]] = {
    # Format 1 had neither `add` nor `undo`.
    1: (("asked_once", "answered_once", "by_kind", "by_batch"), "NULL"),
    # Format 2 had no checksums, and took commands back event by event.
    2: (("asked_once", "added_once", "undone_once", "by_kind", "by_batch"), "undoes"),
}
"""Of each older format its indices, and what stands for `undoes`. Events keep their numbers."""


def checksum(event: tuple[Any, ...]) -> int:
    """CRC-32 of an event's columns, in the order of `STORED`."""
    return zlib.crc32("\x1f".join(map(str, event)).encode())


def schema_text(connection: sqlite3.Connection) -> dict[str, str]:
    """The definitions in the file, by name."""
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a new or older ledger to the present format, in one transaction; another process may have done it."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version < FORMAT:
            _rewrite(connection, version)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _rewrite(connection: sqlite3.Connection, version: int) -> None:
    if version == 0:
        _create(connection)
        return
    indices, undoes = OLDER[version]
    for statement in (
        "DROP TRIGGER never_changed",
        "DROP TRIGGER never_deleted",
        *(("DROP VIEW live",) if version == 2 else ()),
        *(f"DROP INDEX {index}" for index in indices),
        "ALTER TABLE event RENAME TO older",
    ):
        connection.execute(statement)
    _create(connection)
    columns = STORED.replace("undoes, until", f"{undoes}, NULL")
    rows = connection.execute(f"SELECT {columns} FROM older ORDER BY number")
    connection.executemany(INSERT, _with_checksums(rows))
    connection.execute("DROP TABLE older")


def _create(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA.values():
        connection.execute(statement)


def _with_checksums(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        yield *row, checksum(row)
