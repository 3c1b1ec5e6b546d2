"""Random and damaged documents, stores, records and phone answers: only errors of mnas come out, in bounded time."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency.adb.shell import ShellResult
from latency.android.runner_session import PhoneRunner
from latency.errors import LatencyError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord
from mnas.documents.errors import DocumentError, Error
from mnas.documents.yaml_file import parse
from mnas.experiment import Experiment
from mnas.retrain.recipe import Recipe
from mnas.search.store import Outcome, Proposal, StoreError, Told, TrialStore
from search_space import SearchSpace
from search_space.architecture_file import ArchitectureFileFields

BOUNDED = settings(max_examples=60, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
MARKS = r"""{ } [ ] : - &a *a << !!int !!float !!binary !!set !!timestamp !x ? | > ' " # --- ... %YAML .inf .nan 010
1:30 0x1f 2024-13-01 ~ = , a blocks r1_k3_s11_e1_i8_o8"""
TOKENS = st.sampled_from([*MARKS.split(), " ", "\n", "\n  ", "\t", "\x00", "\x85", "9" * 30])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([10**400, "r1_k3_s11_e1_i8_o8", "\x1b[31m", -1, 0, 1e300])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of plain data, as its container and key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from paths(item)


@st.composite
def damaged(draw: st.DrawFn, sample: Any) -> Any:
    """Draw a copy of plain data with one or two values replaced or removed."""
    copy = json.loads(json.dumps(sample))
    for _ in range(draw(st.integers(1, 2))):
        places = list(paths(copy))
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        if isinstance(container, dict) and draw(st.booleans()):
            del container[key]
        else:
            container[key] = draw(VALUES)
    return copy


SPACE = {
    "name": "tiny",
    "image_size": 16,
    "stem_filters": 8,
    "blocks": [{"op": ["conv", "mbconv3"], "stride": 2, "filters": [8, 12], "layers": [1, 2], "kernel": [3, 5]}],
}
QUICKSTART = msgspec.to_builtins(Experiment.load("quickstart"))
TYPES = [Experiment, Recipe, ArchitectureFileFields, dict[str, Any]]


@BOUNDED
@given(st.lists(TOKENS, max_size=25).map("".join) | st.text(max_size=60), st.sampled_from(TYPES))
def test_any_text_is_a_document_or_a_document_error(text: str, type_: type[Any]) -> None:
    with suppress(DocumentError):
        parse(text, type_)


@BOUNDED
@given(damaged(QUICKSTART))
def test_a_damaged_experiment_is_refused_with_an_error_of_mnas(document: dict[str, Any]) -> None:
    with suppress(Error):
        Experiment.from_dict(document).check()


@BOUNDED
@given(damaged(SPACE))
def test_a_damaged_space_is_refused_with_an_error_of_mnas(tmp_path: Path, document: dict[str, Any]) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(json.dumps(document))
    with suppress(Error):
        SearchSpace.load(path)


@BOUNDED
@given(st.data())
def test_a_damaged_record_is_a_record_or_a_value_error(latency_record: LatencyRecord, data: st.DataObject) -> None:
    changed = data.draw(damaged(latency_record.to_dict()))
    with suppress(ValueError):
        record = LatencyRecord.from_dict(changed)
        json.dumps(record.to_dict(), allow_nan=False)


class Phone:
    """A phone whose programs print one text."""

    serial = "fake"

    def __init__(self, output: str) -> None:
        self.output = output

    def shell(self, argv: list[str], timeout_s: float) -> ShellResult:
        del argv, timeout_s
        return ShellResult(self.output, "", 0)


class Bundle:
    engine, engine_version, digest = "onnxruntime", "1", "d"

    def command(self, arguments: list[str]) -> list[str]:
        return arguments


ANSWER = {
    "schema": 1,
    "ok": True,
    "reference_before_ms": 0.1,
    "reference_after_ms": 0.1,
    "wall_ms": [1.0, 1.1],
    "cpu_ms": [1.0, 1.1],
    "involuntary_switches": 0,
    "others_busy": 0.0,
    "frequency_khz_before": 1000,
    "frequency_khz_after": None,
    "frequency_khz_max": 2000,
    "temperature_c_before": 30.0,
    "temperature_c_after": None,
    "load_ms": 1.0,
    "first_run_ms": 1.0,
    "warmup_runs": 3,
    "warmup_ms": 3.0,
    "output_checksum": 1.5,
    "output_sums": [2.25, *[1.5] * 8, 0.0],
    "governor": None,
    "reference_ms": [0.1, 0.1],
}


def session(output: str) -> None:
    runner = PhoneRunner(cast(Any, Phone(output)), cast(Any, Bundle()), "/data", 0)
    runner.session("model.onnx", MeasurementSettings(), 0.1)


def test_the_answer_that_is_damaged_below_is_accepted_whole() -> None:
    session(json.dumps(ANSWER))


@BOUNDED
@given(damaged(ANSWER))
def test_a_damaged_answer_of_a_phone_is_a_latency_error(answer: dict[str, Any]) -> None:
    with suppress(LatencyError):
        session(json.dumps(answer))


@BOUNDED
@given(st.text(max_size=80) | st.sampled_from(["[" * 100_000, "9" * 5000, '{"schema": 1, "ok": true}']))
def test_any_output_of_a_phone_is_a_latency_error(output: str) -> None:
    with pytest.raises(LatencyError):
        session(output)


@BOUNDED
@given(damaged({**ANSWER, "others_busy": [0.0, None]}))
def test_a_damaged_calibration_of_a_phone_is_a_latency_error(answer: dict[str, Any]) -> None:
    runner = PhoneRunner(cast(Any, Phone(json.dumps(answer))), cast(Any, Bundle()), "/data", 0)
    with suppress(LatencyError):
        runner.best_of_reference(MeasurementSettings(max_attempts=1, backoff_s=0.0))


TRIAL_COLUMNS = """state indices architecture fingerprint repeat_of training latency accuracy latency_ms reward
failure_kind failure_message proposed_at finished_at"""
COLUMNS = {
    "trials": TRIAL_COLUMNS.split(),
    "controller_state": ["type", "shape", "value", "checksum"],
    "controller_log": ["call", "count", "trials", "rewards"],
    "meta": ["value"],
}
PLACES = st.sampled_from([(table, column) for table, columns in COLUMNS.items() for column in columns])
CELLS = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=20) | st.binary(max_size=9)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The content of a small store."""
    path = tmp_path_factory.mktemp("store") / "trials.sqlite"
    store = TrialStore(path, create=True)
    store.set_meta({"a": "b"})
    store.propose(1, [Proposal(1, (1, 0), {"blocks": ["r1_k3_s11_e1_i8_o8"]}, "f")], {"step": "asked"})
    store.record_training(1, {"accuracy": 0.5, "steps": 3})
    store.record_latency(1, {"latency_ms": 2.0, "others": {"p": {"latency_ms": 1.0}}})
    store.finish([Outcome(1, accuracy=0.5, latency_ms=2.0, reward=0.5)], Told((1,), (0.5,), {"step": "told"}))
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.read_bytes()


def read_all(path: Path) -> None:
    store = TrialStore(path)
    try:
        store.meta()
        store.controller_log()
        store.controller_state()
        for trial in [*store.trials(), *store.best(5)]:
            json.dumps(trial.training, allow_nan=False)
            assert all(isinstance(value, float) for value in trial.other_latencies_ms.values())
    finally:
        store.close()


@BOUNDED
@given(PLACES, CELLS | damaged({"latency_ms": 2.0, "others": {"p": {"latency_ms": 1.0}}}).map(json.dumps))
def test_a_damaged_row_is_a_store_error(tmp_path: Path, stored: bytes, place: tuple[str, str], cell: object) -> None:
    path = tmp_path / "trials.sqlite"
    path.write_bytes(stored)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        with suppress(sqlite3.Error, UnicodeError):  # what SQLite itself does not take
            connection.execute(f"UPDATE {place[0]} SET {place[1]} = ?", (cell,))
    connection.close()
    with suppress(StoreError):
        read_all(path)


@BOUNDED
@given(st.integers(0, 40_000), st.binary(min_size=1, max_size=40))
def test_damaged_bytes_of_a_store_are_a_store_error(tmp_path: Path, stored: bytes, at: int, damage: bytes) -> None:
    path = tmp_path / "trials.sqlite"
    at %= len(stored)
    path.write_bytes(stored[:at] + damage + stored[at + len(damage) :])
    with suppress(StoreError):
        read_all(path)
