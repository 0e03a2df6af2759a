"""The ledger's table on disk, and how one of an older format becomes one of this format."""

from __future__ import annotations

import sqlite3

__all__ = ["FORMAT", "bring_up"]

FORMAT = 2  # PRAGMA user_version; raised when an older version could no longer read a ledger

SCHEMA = (
    """CREATE TABLE event (
        number  INTEGER PRIMARY KEY,
        time    TEXT NOT NULL,              -- UTC, ISO 8601
        kind    TEXT NOT NULL CHECK (kind IN ('add', 'ask', 'answer', 'revise', 'skip', 'retire', 'undo')),
        sample  TEXT NOT NULL,
        batch   INTEGER,                    -- of an ask: which batch of questions
        rank    INTEGER,                    -- of an ask: place in the batch, 0 = asked first
        score   REAL,                       -- of an ask: the strategy's score, if it has one
        value   TEXT,                       -- JSON: an answer; of an ask, a digest of what was asked about
        undoes  INTEGER,                    -- of an undo: the number of the event that it takes back
        source  TEXT NOT NULL               -- who or why
    )""",
    # Not unique for answers: an answer that was taken back may be given anew. `answer` itself refuses a second one.
    "CREATE UNIQUE INDEX asked_once ON event (sample) WHERE kind = 'ask'",
    "CREATE UNIQUE INDEX added_once ON event (sample) WHERE kind = 'add'",
    "CREATE UNIQUE INDEX undone_once ON event (undoes) WHERE kind = 'undo'",
    "CREATE INDEX by_kind ON event (kind, sample)",
    "CREATE INDEX by_batch ON event (batch, rank) WHERE kind = 'ask'",
    """CREATE VIEW live AS SELECT * FROM event AS one WHERE NOT EXISTS (
        SELECT 1 FROM event WHERE kind = 'undo' AND undoes = one.number
    )""",
    """CREATE TRIGGER never_changed BEFORE UPDATE ON event
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    """CREATE TRIGGER never_deleted BEFORE DELETE ON event
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
)
# Format 1 had neither `add` nor `undo`. Its events keep their numbers.
FROM_FORMAT_1 = (
    "DROP TRIGGER never_changed",
    "DROP TRIGGER never_deleted",
    "DROP INDEX asked_once",
    "DROP INDEX answered_once",
    "DROP INDEX by_kind",
    "DROP INDEX by_batch",
    "ALTER TABLE event RENAME TO event_1",
    *SCHEMA,
    """INSERT INTO event (number, time, kind, sample, batch, rank, score, value, source)
        SELECT number, time, kind, sample, batch, rank, score, value, source FROM event_1 ORDER BY number""",
    "DROP TABLE event_1",
)


def bring_up(connection: sqlite3.Connection) -> None:
    """A new or older ledger to the present format, in one transaction; another process may have done it meanwhile."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for statement in {0: SCHEMA, 1: FROM_FORMAT_1}.get(version, ()):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
