"""Latencies measured before, in one SQLite file that any number of processes share."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple
from pathlib import Path

from latency.errors import ToolError
from latency.protocol import MeasurementSettings
from latency.record import SCHEMA_VERSION, LatencyRecord, PhoneIdentity

BUSY_TIMEOUT_S = 30.0

_TABLE = "CREATE TABLE IF NOT EXISTS latency (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID"


class LatencyCache:
    """Accepted records by model, phone (device, engine and version, core) and settings.

    Each call opens the file anew, so that threads and processes need no arrangement. Raises ToolError
    (`cache_unusable`) when the file cannot be read or written as a cache.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, model_hash: str, phone: PhoneIdentity, settings: MeasurementSettings) -> LatencyRecord | None:
        """The record of such a measurement; None when there is none yet."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT record FROM latency WHERE key = ?", (_key(model_hash, phone, settings),)
            ).fetchone()
            return None if row is None else LatencyRecord.from_dict(json.loads(row[0]))

    def put(self, record: LatencyRecord) -> None:
        """Keep an accepted record, in place of an older one. Raises ValueError when it is not accepted."""
        if not record.accepted:
            raise ValueError(f"record of model {record.model_sha256[:12]} is not accepted: {record.reason}")
        key = _key(record.model_sha256, record.phone, record.settings)
        with self._connection() as connection:
            connection.execute("INSERT OR REPLACE INTO latency VALUES (?, ?)", (key, json.dumps(record.to_dict())))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S)) as connection, connection:
                connection.execute(_TABLE)
                yield connection
        except (sqlite3.Error, ValueError) as error:
            raise ToolError(
                "cache_unusable",
                f"latency cache {self._path}: {error}; check its folder and permissions, or delete the file",
            ) from error


def _key(model_hash: str, phone: PhoneIdentity, settings: MeasurementSettings) -> str:
    # The schema is part of the key: records of another version are not found rather than misread.
    return json.dumps([SCHEMA_VERSION, model_hash, *astuple(phone), settings.digest])
