"""Latencies measured before, in one SQLite file.

Any number of processes may share it.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from latency.errors import ToolError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, PhoneIdentity
from latency.user_folders import cache_folder
from mnas.documents.json_text import parse_json
from mnas.documents.user_paths import user_path

# A look-up takes a millisecond; a file that stays locked for longer is held by another program.
BUSY_TIMEOUT_S = 5.0

# Part of every key. It changes when an older record must not be found any more.
_KEY_VERSION = 2

_LOG = logging.getLogger(__name__)

_TABLE = "CREATE TABLE IF NOT EXISTS latency (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID"


class LatencyCache:
    """Accepted records by model, phone and settings.

    A phone is its unit, what runs there, and the core; its name does not matter. What was measured while it was slow,
    before it was added again, is not found.

    Each call opens the file again, so threads and processes need no arrangement. The file and its folder are made if
    they do not exist.

    Raises:
        ToolError: `cache_unusable`: the file cannot be read or written as a cache.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, model_hash: str, phone: PhoneIdentity, settings: MeasurementSettings) -> LatencyRecord | None:
        """Return the record of such a measurement, under the phone's name of today.

        Returns:
            None if there is none.
        """
        with self._connection() as connection:
            row = connection.execute(
                "SELECT record FROM latency WHERE key = ?", (_key(model_hash, phone, settings),)
            ).fetchone()
            if row is None:
                return None
            data: Any = parse_json(row[0], source=f"latency cache {self.path}")
            record = LatencyRecord.from_dict(data)
            return None if _was_slow(record, phone, settings) else replace(record, phone=phone)

    def put(self, record: LatencyRecord) -> None:
        """Keep an accepted record; an older one is replaced.

        Raises:
            ValueError: The record is not accepted.
        """
        if not record.accepted:
            raise ValueError(f"record of model {record.model_sha256[:12]} is not accepted: {record.reason}")
        key = _key(record.model_sha256, record.phone, record.settings)
        with self._connection() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO latency VALUES (?, ?)", (key, json.dumps(record.to_dict(), allow_nan=False))
            )

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)) as connection, connection:
                connection.execute(_TABLE)
                yield connection
        except (sqlite3.Error, OSError, ValueError) as error:
            raise ToolError(
                "cache_unusable",
                f"latency cache {self.path}: {error}; check its folder and permissions, delete the file, or set "
                "MNAS_LATENCY_CACHE to another one",
            ) from error


def _key(model_hash: str, phone: PhoneIdentity, settings: MeasurementSettings) -> str:
    # All fields but the name, which is the user's: two runs may call one phone differently.
    # The reference decides whether a record is used, not which one: see `_was_slow`.
    device = [value for name, value in asdict(phone).items() if name not in ("name", "reference_ms")]
    return json.dumps([_KEY_VERSION, model_hash, *device, settings.digest])


def _was_slow(record: LatencyRecord, phone: PhoneIdentity, settings: MeasurementSettings) -> bool:
    """Return whether the phone was clearly slower when the record was made than it is by its profile of today."""
    if phone.reference_ms is None:
        return False
    best_ms = [best for session in record.sessions if (best := session.window.reference_best_ms) is not None]
    return any(best > phone.reference_ms * (1 + settings.faster_limit) for best in best_ms)


class TolerantCache:
    """A cache, or none, that does not stop the work when it fails.

    The failure is logged once; then every latency is measured.
    """

    def __init__(self, cache: LatencyCache | None) -> None:
        self._cache = cache

    def get(
        self, model_hash: str, phones: Iterable[PhoneIdentity], settings: MeasurementSettings
    ) -> LatencyRecord | None:
        """Return the record of such a measurement on any of these phones.

        Returns:
            None if there is none.
        """
        cache = self._cache
        try:
            found = (cache.get(model_hash, phone, settings) for phone in phones) if cache else ()
            return next((record for record in found if record is not None), None)
        except ToolError as error:
            self._go_without(error)
            return None

    def put(self, record: LatencyRecord) -> None:
        """Keep an accepted record."""
        try:
            if (cache := self._cache) is not None:
                cache.put(record)
        except ToolError as error:
            self._go_without(error)

    def _go_without(self, error: ToolError) -> None:
        if self._cache is not None:
            self._cache = None
            _LOG.warning("%s. Until then every latency is measured", error)


def user_cache() -> LatencyCache | None:
    """Return the cache that all runs of this user share.

    It is `~/.cache/mnas/latency.sqlite3`.

    `XDG_CACHE_HOME` moves it with all other caches. `MNAS_LATENCY_CACHE` names another file, or is `off`: None.
    """
    chosen = os.environ.get("MNAS_LATENCY_CACHE")
    if chosen == "off":
        return None
    return LatencyCache(user_path(chosen) if chosen else cache_folder() / "latency.sqlite3")
