"""The tables of a store, their check in a file that may come from elsewhere, and the step from an older version."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from controllers import ControllerError, state_from_bytes
from mnas.errors import Error
from mnas.search.controller_state import StatePart, StateRecorder

SCHEMA_VERSION = 2

_TABLE_OF_STATE = """
CREATE TABLE controller_state (
    key TEXT NOT NULL,
    part INTEGER NOT NULL,
    type TEXT NOT NULL,
    shape TEXT NOT NULL,
    value BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (key, part)
);
"""
_TABLE_OF_SESSIONS = """
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    host TEXT NOT NULL,
    started_at TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    search_s REAL NOT NULL,
    device_s REAL NOT NULL
);
"""
# A file of version 2 may be older than this table, so it is made when a search opens the file.
TABLE_OF_FINALISTS = """
CREATE TABLE IF NOT EXISTS finalist_trainings (
    id INTEGER PRIMARY KEY,
    trial INTEGER NOT NULL REFERENCES trials (id),
    seed INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('proposed', 'complete', 'failed')),
    training TEXT,
    latency TEXT,
    accuracy REAL,
    latency_ms REAL,
    reward REAL,
    failure_kind TEXT,
    failure_message TEXT,
    proposed_at TEXT NOT NULL,
    finished_at TEXT
);
"""
# Made by the first second training of a run (`search.repeats`).
TABLE_OF_SECOND_TRAININGS = """
CREATE TABLE IF NOT EXISTS second_trainings (
    trial INTEGER PRIMARY KEY REFERENCES trials (id),
    training TEXT NOT NULL,
    finished_at TEXT NOT NULL
);
"""
# The first columns serve the counts, all of them the best trials.
_INDEX_OF_REWARDS = "CREATE INDEX trials_by_reward ON trials (state, repeat_of, reward DESC, id);"
SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trials (
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('proposed', 'complete', 'stopped', 'failed')),
    indices TEXT NOT NULL,
    architecture TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    repeat_of INTEGER REFERENCES trials (id),
    training TEXT,
    latency TEXT,
    accuracy REAL,
    latency_ms REAL,
    reward REAL,
    failure_kind TEXT,
    failure_message TEXT,
    proposed_at TEXT NOT NULL,
    finished_at TEXT
);
CREATE INDEX trials_by_fingerprint ON trials (fingerprint);
{_INDEX_OF_REWARDS}
CREATE TABLE controller_log (
    step INTEGER PRIMARY KEY,
    call TEXT NOT NULL CHECK (call IN ('ask', 'tell')),
    count INTEGER NOT NULL,
    trials TEXT NOT NULL,
    rewards TEXT
);
{_TABLE_OF_STATE}
{_TABLE_OF_SESSIONS}
"""
_TABLES = {
    1: {"meta", "trials", "controller", "controller_log"},
    2: {"meta", "trials", "controller_state", "controller_log", "sessions"},
}


class StoreError(Error):
    """The run's database cannot be opened, read or written."""


def check_schema(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Raise StoreError unless the file has our tables, and neither views nor triggers, which run code of others."""
    # A virtual table has no root page.
    rows = connection.execute("SELECT type, name, rootpage FROM sqlite_master").fetchall()
    tables = {name for type_, name, page in rows if type_ == "table" and page}
    if not tables >= _TABLES[version] or any(type_ not in ("table", "index") or not page for type_, _, page in rows):
        raise StoreError(f"{path}: its tables are not those of mnas; restore it from a copy")


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file in one transaction: a kill leaves an empty file, not half a schema."""
    connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file of version 1 to version 2, in one transaction.

    Version 1 wrote the controller's whole state as one value with every step, and had no index of the rewards.

    Raises:
        StoreError: The state of the controller is damaged. The file is unchanged.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        row = connection.execute("SELECT state FROM controller").fetchone()
        parts: list[StatePart] = []
        if row is not None:
            _, parts = StateRecorder().changes(state_from_bytes(row[0]))
        for statement in (
            "DROP TABLE controller",
            "DROP INDEX trials_by_state",
            _INDEX_OF_REWARDS,
            _TABLE_OF_STATE,
            _TABLE_OF_SESSIONS,
        ):
            connection.execute(statement)
        write_parts(connection, parts)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except (ControllerError, TypeError, ValueError) as error:
        connection.execute("ROLLBACK")
        raise StoreError(
            f"{path}: the controller's state cannot be read ({error}); restore the file from a copy, or start a new run"
        ) from error
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def write_parts(connection: sqlite3.Connection, parts: list[StatePart]) -> None:
    """Write parts of a controller's state; a part 0 replaces all that is there of its key."""
    for part in parts:
        if part.part == 0:
            connection.execute("DELETE FROM controller_state WHERE key = ?", (part.key,))
        connection.execute(
            "INSERT INTO controller_state VALUES (?, ?, ?, ?, ?, ?)",
            (part.key, part.part, part.type, part.shape, part.value, part.checksum),
        )
