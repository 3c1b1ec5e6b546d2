"""What every phone must do. A new kind of phone joins by one more context in PHONES."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from latency.android.phone import AdbPhone
from latency.errors import CandidateError, PhoneError, PhoneUnstableError
from latency.host.phone import HostPhone
from latency.loopback.adbd import Adbd
from latency.loopback.phone import phone_profile, signal_runners
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, LoadReport
from latency.phone import PhoneBackend


@dataclass(frozen=True)
class PhoneUnderTest:
    phone: PhoneBackend
    signal_runner: Callable[[signal.Signals], None]
    """Sends a signal to the process that runs the models, wherever it is."""


@contextmanager
def host_phone(request: pytest.FixtureRequest) -> Iterator[PhoneUnderTest]:
    phone = HostPhone()

    def signal_runner(number: signal.Signals) -> None:
        assert phone.runner_pid is not None
        os.kill(phone.runner_pid, number)

    yield PhoneUnderTest(phone, signal_runner)
    phone.close()


@contextmanager
def android_phone(request: pytest.FixtureRequest) -> Iterator[PhoneUnderTest]:
    root: Path = request.getfixturevalue("adbd_root")
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("adbd")
    with Adbd(root, folder) as adbd:
        phone = AdbPhone(*phone_profile(adbd))
        yield PhoneUnderTest(phone, lambda number: signal_runners(folder, number))
        phone.close()


PHONES = {"host": host_phone, "android": android_phone}


@pytest.fixture(scope="module", params=PHONES)
def under_test(request: pytest.FixtureRequest) -> Iterator[PhoneUnderTest]:
    with PHONES[request.param](request) as made:
        yield made


@pytest.fixture
def phone(under_test: PhoneUnderTest) -> PhoneBackend:
    return under_test.phone


def loaded(record: LatencyRecord) -> LoadReport:
    report = record.sessions[0].loaded
    assert report is not None
    return report


def measure_disturbed(
    under_test: PhoneUnderTest, model: bytes, settings: MeasurementSettings, number: signal.Signals
) -> LatencyRecord:
    """Measure with a warm-up of 20 s, and send the signal to the runner in the middle of it."""
    under_test.phone.measure(model, replace(settings, warmup_min_ms=0.0))  # The runner is there from now on.
    timer = threading.Timer(0.5, under_test.signal_runner, [number])
    timer.start()
    try:
        return under_test.phone.measure(model, replace(settings, warmup_min_ms=20_000.0))
    finally:
        timer.join()


def test_it_keeps_every_raw_run(phone: PhoneBackend, tiny_model: bytes, tolerant: MeasurementSettings) -> None:
    record = phone.measure(tiny_model, tolerant)
    assert record.cpu_ms is not None
    assert len(record.wall_ms) == len(record.cpu_ms) == tolerant.runs


def test_the_record_names_the_model_the_phone_and_the_settings(
    phone: PhoneBackend, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    record = phone.measure(tiny_model, tolerant)
    assert record.accepted
    assert record.model_sha256 == hashlib.sha256(tiny_model).hexdigest()
    assert record.phone == phone.identify()
    assert record.phone.name == phone.name
    assert record.settings == tolerant


def test_it_warms_up_by_count_and_by_time(
    phone: PhoneBackend, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    by_count = phone.measure(tiny_model, replace(tolerant, warmup_runs=7, warmup_min_ms=0.0))
    by_time = phone.measure(tiny_model, replace(tolerant, warmup_runs=0, warmup_min_ms=50.0))
    assert loaded(by_count).warmup_runs == 7
    assert loaded(by_time).warmup_ms >= 50.0


def test_every_session_loads_the_model_again(
    phone: PhoneBackend, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    record = phone.measure(tiny_model, replace(tolerant, sessions=3))
    assert len(record.sessions) == 3
    assert len({session.loaded.load_ms for session in record.sessions if session.loaded}) == 3


def test_the_same_model_computes_the_same_checksum(
    phone: PhoneBackend, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    checksums = {phone.measure(tiny_model, tolerant).output_checksum for _ in range(2)}
    assert len(checksums) == 1
    assert None not in checksums


def test_an_unknown_batch_is_one(
    phone: PhoneBackend, tiny_model: bytes, dynamic_batch_model: bytes, tolerant: MeasurementSettings
) -> None:
    fixed, dynamic = phone.measure(tiny_model, tolerant), phone.measure(dynamic_batch_model, tolerant)
    assert dynamic.output_checksum == pytest.approx(fixed.output_checksum, rel=1e-5)


def test_a_slow_model_gets_fewer_runs_but_not_too_few(
    phone: PhoneBackend, slow_model: bytes, tolerant: MeasurementSettings
) -> None:
    record = phone.measure(slow_model, replace(tolerant, runs=1000, min_runs=3, window_budget_ms=1.0))
    assert len(record.wall_ms) == 3


@pytest.mark.parametrize(
    ("model_name", "stage"),
    [
        ("garbage", "load"),
        ("empty", "load"),
        ("truncated", "load"),
        ("integer_input_model", "inputs"),
        ("failing_run_model", "run"),
    ],
)
def test_a_bad_model_is_a_candidate_error_with_its_stage_and_the_phone_goes_on(
    phone: PhoneBackend,
    tiny_model: bytes,
    tolerant: MeasurementSettings,
    request: pytest.FixtureRequest,
    model_name: str,
    stage: str,
) -> None:
    made = {"garbage": b"not a network", "empty": b"", "truncated": tiny_model[: len(tiny_model) // 2]}
    model = made[model_name] if model_name in made else request.getfixturevalue(model_name)
    with pytest.raises(CandidateError) as caught:
        phone.measure(model, tolerant)
    assert (caught.value.kind, caught.value.stage) == ("model_rejected", stage)
    assert phone.measure(tiny_model, tolerant).accepted


def test_a_killed_runner_is_a_phone_error_and_the_next_measurement_works(
    under_test: PhoneUnderTest, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    with pytest.raises(PhoneError) as caught:
        measure_disturbed(under_test, tiny_model, tolerant, signal.SIGKILL)
    assert caught.value.kind == "runner_died"
    assert under_test.phone.measure(tiny_model, tolerant).accepted


def test_a_hanging_runner_is_a_timeout_and_the_next_measurement_works(
    under_test: PhoneUnderTest, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    with pytest.raises(PhoneError) as caught:
        measure_disturbed(
            # Stopped after half a second: far less than the share of the time-out that tells a model that never ends.
            under_test,
            tiny_model,
            replace(tolerant, load_timeout_s=4.0, window_timeout_s=1.0),
            signal.SIGSTOP,
        )
    assert caught.value.kind == "timeout"
    assert under_test.phone.measure(tiny_model, tolerant).accepted


def test_a_runner_killed_between_measurements_is_replaced(
    under_test: PhoneUnderTest, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    under_test.phone.measure(tiny_model, tolerant)
    under_test.signal_runner(signal.SIGKILL)
    time.sleep(0.2)  # Until the kernel has seen it die.
    assert under_test.phone.measure(tiny_model, tolerant).accepted


def test_without_a_steady_window_there_is_no_latency_but_all_its_numbers(
    phone: PhoneBackend, tiny_model: bytes, tolerant: MeasurementSettings
) -> None:
    strict = replace(tolerant, relative_mad_limit=0.0, runs=200, max_attempts=3, backoff_s=0.0)
    with pytest.raises(PhoneUnstableError) as caught:
        phone.measure(tiny_model, strict)
    record = caught.value.record
    assert caught.value.kind == "phone_unstable"
    assert record is not None
    assert not record.accepted
    assert len(record.rejected_windows) == 3
    assert record.reason in str(caught.value)


@pytest.mark.parametrize("kind", PHONES)
def test_closing_twice_is_allowed(kind: str, request: pytest.FixtureRequest) -> None:
    with PHONES[kind](request) as made:
        made.phone.identify()
        made.phone.close()
