from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from latency.errors import ToolError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, PhoneIdentity
from latency.pool.cache import LatencyCache, TolerantCache, user_cache


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


def test_a_record_that_schema_2_has_kept_is_still_found(tmp_path: Path) -> None:
    old = json.loads((Path(__file__).parents[1] / "measurement" / "schema_2.json").read_text())
    with closing(sqlite3.connect(tmp_path / "latency.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE latency (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID")
        connection.execute("INSERT INTO latency VALUES (?, ?)", (old["key"], json.dumps(old["record"])))
    phone = PhoneIdentity(**old["record"]["phone"])
    found = LatencyCache(tmp_path / "latency.sqlite").get("0" * 64, phone, MeasurementSettings())
    assert found == LatencyRecord.from_dict(old["record"])


def test_another_model_is_a_miss(cache: LatencyCache, record: LatencyRecord) -> None:
    cache.put(record)
    assert cache.get("1" * 64, record.phone, record.settings) is None


@pytest.mark.parametrize("field", ["serial", "fingerprint", "engine", "engine_version"])
def test_another_phone_or_engine_is_a_miss(cache: LatencyCache, record: LatencyRecord, field: str) -> None:
    other = PhoneIdentity(**{**asdict(record.phone), field: "other"})
    cache.put(record)
    assert cache.get(record.model_sha256, other, record.settings) is None


def test_the_same_phone_under_another_name_is_a_hit_with_that_name(cache: LatencyCache, record: LatencyRecord) -> None:
    renamed = replace(record.phone, name="renamed")
    cache.put(record)
    assert cache.get(record.model_sha256, renamed, record.settings) == replace(record, phone=renamed)


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


def test_a_missing_folder_is_made(tmp_path: Path, record: LatencyRecord) -> None:
    path = tmp_path / "nowhere" / "latency.sqlite"
    LatencyCache(path).put(record)
    assert path.is_file()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, record: LatencyRecord) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolError, match="file") as caught:
        LatencyCache(tmp_path / "file" / "latency.sqlite").put(record)
    assert caught.value.kind == "cache_unusable"


def test_any_of_several_phones_may_have_measured_it(cache: LatencyCache, record: LatencyRecord) -> None:
    other = replace(record.phone, serial="other")
    cache.put(record)
    assert TolerantCache(cache).get(record.model_sha256, [other, record.phone], record.settings) == record


def test_no_cache_holds_nothing(record: LatencyRecord) -> None:
    TolerantCache(None).put(record)
    assert TolerantCache(None).get(record.model_sha256, [record.phone], record.settings) is None


def test_an_unusable_cache_is_said_once_and_then_left_alone(
    tmp_path: Path, record: LatencyRecord, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "latency.sqlite"
    path.write_bytes(b"this is not SQLite" * 100)
    tolerant = TolerantCache(LatencyCache(path))
    for _ in range(2):
        assert tolerant.get(record.model_sha256, [record.phone], record.settings) is None
        tolerant.put(record)
    assert [str(path) in message for message in caplog.messages] == [True]


def test_a_locked_cache_is_left_alone(
    tmp_path: Path, record: LatencyRecord, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latency.pool.cache.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "latency.sqlite"
    LatencyCache(path).put(record)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert TolerantCache(LatencyCache(path)).get(record.model_sha256, [record.phone], record.settings) is None
    assert "locked" in caplog.text


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"HOME": "/home/somebody"}, "/home/somebody/.cache/mnas/latency.sqlite3"),
        ({"HOME": "/home/somebody", "XDG_CACHE_HOME": "/caches"}, "/caches/mnas/latency.sqlite3"),
        ({"XDG_CACHE_HOME": "/caches", "MNAS_LATENCY_CACHE": "/else/where"}, "/else/where"),
    ],
)
def test_the_users_cache_is_where_the_environment_says(
    variables: dict[str, str], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "MNAS_LATENCY_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    cache = user_cache()
    assert cache is not None
    assert cache.path == Path(path)


def test_the_users_cache_can_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNAS_LATENCY_CACHE", "off")
    assert user_cache() is None
