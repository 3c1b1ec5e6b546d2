from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from latency.cache import LatencyCache
from latency.errors import ToolError
from latency.record import LatencyRecord, PhoneIdentity


@pytest.fixture
def cache(tmp_path: Path) -> LatencyCache:
    return LatencyCache(tmp_path / "latency.sqlite")


def test_a_kept_record_is_found_again_exactly(cache: LatencyCache, record: LatencyRecord) -> None:
    assert cache.get(record.model_sha256, record.phone, record.settings) is None
    cache.put(record)
    assert cache.get(record.model_sha256, record.phone, record.settings) == record


def test_the_record_outlives_the_object(tmp_path: Path, record: LatencyRecord) -> None:
    LatencyCache(tmp_path / "latency.sqlite").put(record)
    again = LatencyCache(tmp_path / "latency.sqlite")
    assert again.get(record.model_sha256, record.phone, record.settings) == record


def test_another_model_is_a_miss(cache: LatencyCache, record: LatencyRecord) -> None:
    cache.put(record)
    assert cache.get("1" * 64, record.phone, record.settings) is None


@pytest.mark.parametrize("field", ["name", "serial", "fingerprint", "engine", "engine_version"])
def test_another_phone_or_engine_is_a_miss(cache: LatencyCache, record: LatencyRecord, field: str) -> None:
    other = PhoneIdentity(**{**asdict(record.phone), field: "other"})
    cache.put(record)
    assert cache.get(record.model_sha256, other, record.settings) is None


def test_another_core_is_a_miss(cache: LatencyCache, record: LatencyRecord) -> None:
    cache.put(record)
    assert cache.get(record.model_sha256, replace(record.phone, core=7), record.settings) is None


def test_other_settings_are_a_miss(cache: LatencyCache, record: LatencyRecord) -> None:
    cache.put(record)
    assert cache.get(record.model_sha256, record.phone, replace(record.settings, runs=99)) is None


def test_a_later_record_replaces_the_earlier_one(cache: LatencyCache, record: LatencyRecord) -> None:
    later = replace(record, reason="within all limits again")
    cache.put(record)
    cache.put(later)
    assert cache.get(record.model_sha256, record.phone, record.settings) == later


def test_an_unaccepted_record_is_refused(cache: LatencyCache, rejected_record: LatencyRecord) -> None:
    with pytest.raises(ValueError, match="not accepted"):
        cache.put(rejected_record)


def test_many_writers_lose_nothing(cache: LatencyCache, record: LatencyRecord) -> None:
    records = [replace(record, model_sha256=f"{number:064}") for number in range(40)]
    threads = [threading.Thread(target=cache.put, args=(each,)) for each in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(cache.get(each.model_sha256, each.phone, each.settings) == each for each in records)


def test_a_file_that_is_no_database_is_named(tmp_path: Path, record: LatencyRecord) -> None:
    path = tmp_path / "latency.sqlite"
    path.write_bytes(b"this is not SQLite" * 100)
    with pytest.raises(ToolError, match=r"latency\.sqlite") as caught:
        LatencyCache(path).get(record.model_sha256, record.phone, record.settings)
    assert caught.value.kind == "cache_unusable"


def test_a_spoilt_record_is_an_error_not_a_latency(tmp_path: Path, record: LatencyRecord) -> None:
    path = tmp_path / "latency.sqlite"
    LatencyCache(path).put(record)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE latency SET record = substr(record, 1, 100)")
    with pytest.raises(ToolError) as caught:
        LatencyCache(path).get(record.model_sha256, record.phone, record.settings)
    assert caught.value.kind == "cache_unusable"


def test_a_missing_folder_is_named(tmp_path: Path, record: LatencyRecord) -> None:
    with pytest.raises(ToolError, match="nowhere"):
        LatencyCache(tmp_path / "nowhere" / "latency.sqlite").put(record)
