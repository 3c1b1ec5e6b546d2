from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, LoadReport, RejectedWindow, Session
from latency.measurement.window import TimedWindow

OLD = Path(__file__).with_name("schema_2.json")
FREQUENCIES = st.none() | st.integers(1, 10_000_000)
TIMES = st.floats(0, 1e9)
LOADED = st.builds(
    LoadReport, TIMES, TIMES, st.integers(0, 10), TIMES, st.none() | st.floats(0, 1e12), st.none() | st.text()
)


@st.composite
def windows(draw: st.DrawFn) -> TimedWindow:
    runs = draw(st.lists(st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)), min_size=1, max_size=20))
    cpu_ms = tuple(cpu for _, cpu in runs)
    return TimedWindow(
        tuple(wall for wall, _ in runs),
        draw(st.none() | st.just(cpu_ms)),
        draw(st.integers(0, 1000)),
        draw(FREQUENCIES),
        draw(FREQUENCIES),
    )


@given(
    sessions=st.lists(st.builds(Session, st.none() | LOADED, windows()), max_size=3),
    rejected=st.lists(st.builds(RejectedWindow, st.text(), windows()), max_size=3),
    accepted=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_record_survives_json_exactly(
    record: LatencyRecord,
    sessions: list[Session],
    rejected: list[RejectedWindow],
    accepted: bool,
) -> None:
    drawn = replace(
        record,
        sessions=tuple(sessions),
        rejected_windows=tuple(rejected),
        accepted=accepted,
    )
    assert LatencyRecord.from_dict(json.loads(json.dumps(drawn.to_dict(), allow_nan=False))) == drawn


def test_the_latency_stands_once_in_the_stored_form(record: LatencyRecord) -> None:
    stored = record.to_dict()
    assert stored["latency_ms"] == record.latency_ms == 2.1
    assert json.dumps(stored).count('"latency_ms"') == 1


def test_the_summary_repeats_the_other_derived_numbers(record: LatencyRecord) -> None:
    summary = record.to_dict()["summary"]
    assert summary["p90_ms"] == record.p90_ms
    assert summary["attempts"] == 2


@pytest.fixture
def old_record() -> dict[str, Any]:
    """A record as schema 2 wrote it, read from a file."""
    old: dict[str, Any] = json.loads(OLD.read_text())["record"]
    return old


def test_a_record_of_schema_2_still_reads(old_record: dict[str, Any], record: LatencyRecord) -> None:
    assert LatencyRecord.from_dict(old_record) == replace(record, settings=MeasurementSettings())


def test_a_record_of_schema_2_out_of_a_search_still_reads(old_record: dict[str, Any]) -> None:
    # A search kept the latency next to the record too.
    assert LatencyRecord.from_dict({"latency_ms": 2.1, **old_record}).latency_ms == 2.1


def test_a_record_of_schema_3_still_reads(record: LatencyRecord) -> None:
    old = json.loads(json.dumps(record.to_dict())) | {"schema": 3}
    for key in ("input_shapes", "output_check"):
        del old[key]
    del old["conditions"]["battery_saver"], old["phone"]["reference_ms"], old["sessions"][0]["loaded"]["output_sums"]
    del old["sessions"][0]["window"]["frequency_khz_max"], old["settings"]["faster_limit"]
    assert LatencyRecord.from_dict(old) == replace(record, settings=replace(record.settings, faster_limit=0.05))


def test_another_schema_version_is_refused(record: LatencyRecord) -> None:
    with pytest.raises(ValueError, match="schema 99"):
        LatencyRecord.from_dict({**record.to_dict(), "schema": 99})


@pytest.mark.parametrize(
    "change", [{"sessions": [{}]}, {"phone": {"name": "host"}}, {"unknown_field": 1}, {"settings": None}]
)
def test_data_that_is_no_record_is_refused(record: LatencyRecord, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a latency record"):
        LatencyRecord.from_dict({**record.to_dict(), **change})


def test_an_unaccepted_record_counts_only_its_rejected_windows(rejected_record: LatencyRecord) -> None:
    assert rejected_record.attempts == 1


def test_a_record_without_an_accepted_session_has_no_latency(rejected_record: LatencyRecord) -> None:
    with pytest.raises(ValueError, match="no accepted session: contention"):
        _ = rejected_record.latency_ms


def test_the_latency_is_the_scaled_median_of_the_sessions(record: LatencyRecord) -> None:
    sessions = tuple(Session(None, TimedWindow((time_ms,), None, 0)) for time_ms in (5.0, 1.0, 2.0))
    assert replace(record, sessions=sessions, scale=1.5).latency_ms == 3.0


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('"others_busy": NaN', r"sessions\[0\].window.others_busy"),
        ('"reference_before_ms": Infinity', r"sessions\[0\].window.reference_before_ms"),
        ('"involuntary_switches": "many"', r"sessions\[0\].window.involuntary_switches"),
        ('"wall_ms": [1, NaN]', r"sessions\[0\].window.wall_ms\[1\]"),
    ],
)
def test_a_number_that_is_none_is_refused_with_its_place(record: LatencyRecord, text: str, place: str) -> None:
    data = record.to_dict()
    data["sessions"][0]["window"] |= json.loads("{" + text + "}")
    with pytest.raises(ValueError, match=f"not a latency record: '{place}' is "):
        LatencyRecord.from_dict({**data, "sessions": json.loads(json.dumps(data["sessions"]))})
