"""When a phone's numbers count, and whose fault a failure is: on a phone whose clock and runner are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from latency.adb import AdbDevice
from latency.android import phone as phone_module
from latency.android.checkup import speed_check
from latency.android.inspection import PhoneFacts
from latency.android.phone import AdbPhone
from latency.android.profile import PhoneProfile, PhoneUnit, read_profile, write_profile
from latency.android.runner_session import PhoneRunner
from latency.errors import CandidateError, LatencyError, PhoneError, PhoneGoneError, RunnerCrashedError
from latency.host.expected_output import ExpectedOutput, HostOutput
from latency.leases.between_processes import PhoneLeases
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, LoadReport, PhoneConditions, Session
from latency.measurement.window import TimedWindow
from latency.pool.cache import LatencyCache
from latency.pool.health import RetryPolicy
from latency.pool.service import LatencyService

SUMS = (4.0, *[2.0] * 8, 0.0)
SETTINGS = MeasurementSettings(max_attempts=2, backoff_s=0.0)
LATENCY_MS = 10.0
FACTS = PhoneFacts(
    serial="1A",
    model="maker phone",
    abi="arm64-v8a",
    android="14",
    fingerprint="build 1",
    boot_id=None,
    max_khz={7: 2_800_000},
    folder_writable=True,
    hidden_khz={},
    folder_runnable=True,
    has_bionic=True,
    free_mb=1000,
    missing_tools=(),
)


class Device:
    """A connected phone without a shell."""

    serial = "usb:1A"
    closed = False

    def push(self, *arguments: object, **options: object) -> None:
        pass

    def shell(self, *arguments: object, **options: object) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class Fake:
    """What the phone is and does; a reference of 1 ms is its full speed, and the model then takes 10 ms."""

    facts: PhoneFacts = FACTS
    state: PhoneConditions = field(default_factory=PhoneConditions)
    reference_ms: float = 1.0
    sums: tuple[float, ...] = SUMS
    clocks_khz: tuple[int, int] = (2_700_000, 2_800_000)
    failures: list[LatencyError] = field(default_factory=list)
    """What the next windows end with."""
    reference_failure: LatencyError | None = None
    calibrations: int = 0
    connections: int = 0


@dataclass(frozen=True)
class Runner(PhoneRunner):
    fake: Fake = field(default_factory=Fake)

    @property
    def engine(self) -> str:
        return "onnxruntime"

    @property
    def engine_version(self) -> str:
        return "1.20.0"

    @property
    def runtime(self) -> str:
        return "hash"

    def best_of_reference(self, settings: MeasurementSettings) -> float:
        self.fake.calibrations += 1
        return self.fake.reference_ms

    def try_out(self, settings: MeasurementSettings) -> None:
        if self.fake.reference_failure is not None:
            raise self.fake.reference_failure

    def session(
        self, model_path: str, settings: MeasurementSettings, reference_best_ms: float | None
    ) -> tuple[Session, float | None]:
        if self.fake.failures:
            raise self.fake.failures.pop()
        now_ms = self.fake.reference_ms
        best_ms = min(now_ms, reference_best_ms or now_ms)
        wall_ms = (LATENCY_MS * now_ms,) * 10
        window = TimedWindow(
            wall_ms, wall_ms, 0, *self.fake.clocks_khz, None, now_ms, now_ms, best_ms, frequency_khz_max=2_800_000
        )
        return Session(LoadReport(1.0, 1.0, 10, 300.0, 4.0, None, self.fake.sums), window), best_ms


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fake:
    fake = Fake()

    def connect(address: object) -> AdbDevice:
        fake.connections += 1
        return cast(AdbDevice, Device())

    @contextmanager
    def hold(
        leases: object, serial: str, connection: Callable[[], Any], folder: str, duration_s: float
    ) -> Iterator[Any]:
        with connection() as device:
            yield device, lambda seconds: None

    def install(device: AdbDevice, profile: PhoneProfile, on_push: object) -> Runner:
        return Runner(device, cast(Any, None), "/data", 7, 1, fake)

    monkeypatch.setenv("MNAS_PHONES", str(tmp_path / "phones"))
    monkeypatch.setattr(phone_module, "connect", connect)
    monkeypatch.setattr(phone_module, "inspect", lambda device, folder: fake.facts)
    monkeypatch.setattr(phone_module, "hold_adb_phone", hold)
    monkeypatch.setattr(phone_module, "install_runner", install)
    monkeypatch.setattr(phone_module, "tidy", lambda device, folder, keep: None)
    monkeypatch.setattr(phone_module, "wait_until_cool", lambda device, settings, renew: fake.state)
    monkeypatch.setattr(ExpectedOutput, "of", lambda self, *given: HostOutput(SUMS, {"x": (1, 3)}))
    return fake


@pytest.fixture
def make_phone(fake: Fake, tmp_path: Path) -> Iterator[Callable[..., AdbPhone]]:
    """Write a profile, with changes to its unit, and make its phone."""
    phones = []

    def make(*, name: str = "pixel", **changes: Any) -> AdbPhone:
        unit = PhoneUnit(serial="1A", address="usb:1A", reference_ms=1.0, calibration_ms=(1.0,), fingerprint="build 1")
        unit = msgspec.structs.replace(unit, **changes)
        profile = PhoneProfile(name=name, model="maker phone", abi="arm64-v8a", core=7, units=(unit,))
        write_profile(profile)
        phones.append(AdbPhone(profile, unit, leases=PhoneLeases(tmp_path / "leases")))
        return phones[-1]

    yield make
    for phone in phones:
        phone.close()


def failure(phone: AdbPhone, settings: MeasurementSettings = SETTINGS) -> LatencyError:
    with pytest.raises(LatencyError) as caught:
        phone.measure(b"model", settings)
    return caught.value


Make = Callable[..., AdbPhone]


def test_a_phone_at_the_speed_of_its_profile_is_measured(make_phone: Make) -> None:
    record = make_phone().measure(b"model", SETTINGS)
    assert (record.latency_ms, record.flags, record.input_shapes) == (LATENCY_MS, (), {"x": (1, 3)})
    assert record.output_check is not None
    assert (record.output_check.numbers, record.output_check.difference) == ("fp32", 0.0)


def test_a_phone_that_was_slow_when_added_gives_no_latency_and_says_so(make_phone: Make) -> None:
    error = failure(make_phone(reference_ms=1.3))
    assert (error.kind, "add it again" in str(error)) == ("phone_slow_when_added", True)


def test_a_profile_that_has_been_found_slow_stays_refused(make_phone: Make, fake: Fake, tmp_path: Path) -> None:
    failure(make_phone(reference_ms=1.3))
    fake.reference_ms = 1.3  # Slow again: only the profile remembers.
    profile = read_profile("pixel")
    later = AdbPhone(profile, profile.units[0], leases=PhoneLeases(tmp_path / "leases"))
    with pytest.raises(PhoneError) as caught:
        later.identify()
    later.close()
    assert caught.value.kind == "phone_slow_when_added"


def test_a_little_faster_is_no_reason_to_doubt_a_profile(make_phone: Make) -> None:
    assert make_phone(reference_ms=1.04).measure(b"model", SETTINGS).accepted


def test_of_two_phones_one_slow_when_added_and_one_throttled_later_neither_gives_a_wrong_number(
    make_phone: Make, fake: Fake
) -> None:
    slow_when_added, throttled = make_phone(name="a", reference_ms=1.35), make_phone(name="b", reference_ms=1 / 1.25)
    policy = RetryPolicy(retries=2, first_delay_s=0.0, quarantine_after=1, patience_s=0.0, quarantine_s=60.0)
    with LatencyService([slow_when_added, throttled], SETTINGS, retry=policy) as service:
        with pytest.raises(PhoneError):
            service.submit(b"model").result(20)
        assert [status.measured for status in service.status()] == [0, 0]


def test_what_a_slow_phone_has_left_in_the_cache_is_not_used(make_phone: Make, fake: Fake, tmp_path: Path) -> None:
    cache = LatencyCache(tmp_path / "cache.sqlite")
    fake.reference_ms = 1.3
    slow = make_phone(reference_ms=1.3).measure(b"model", SETTINGS)
    cache.put(slow)
    assert cache.get(slow.model_sha256, slow.phone, SETTINGS) == slow
    fake.reference_ms = 1.0
    again = make_phone(reference_ms=1.0).identify()
    assert cache.get(slow.model_sha256, again, SETTINGS) is None


def test_after_an_update_the_reference_is_learnt_again(make_phone: Make, fake: Fake) -> None:
    fake.facts, fake.reference_ms = replace(FACTS, fingerprint="build 2"), 0.8
    assert make_phone().measure(b"model", SETTINGS).latency_ms == LATENCY_MS * 0.8
    unit = read_profile("pixel").units[0]
    assert (fake.calibrations, unit.reference_ms, unit.fingerprint) == (1, 0.8, "build 2")


def test_a_profile_without_a_build_learns_it_and_keeps_its_reference(make_phone: Make, fake: Fake) -> None:
    make_phone(fingerprint=None).measure(b"model", SETTINGS)
    unit = read_profile("pixel").units[0]
    assert (fake.calibrations, unit.reference_ms, unit.fingerprint) == (0, 1.0, "build 1")


@pytest.mark.parametrize("change", [{"fingerprint": "build 2"}, {"model": "another"}, {"android": "15"}])
def test_a_phone_that_changes_while_the_program_runs_is_refused(
    make_phone: Make, fake: Fake, change: dict[str, str]
) -> None:
    phone = make_phone()
    phone.measure(b"model", SETTINGS)
    fake.facts = replace(FACTS, **cast(Any, change))
    error = failure(phone)
    assert (error.kind, "start again" in str(error)) == ("phone_changed", True)


def test_a_phone_with_its_battery_saver_on_is_not_timed(make_phone: Make, fake: Fake) -> None:
    fake.state = PhoneConditions(battery_saver=True)
    assert failure(make_phone()).kind == "phone_saving"


def test_a_low_clock_is_flagged_although_the_reference_agrees(make_phone: Make, fake: Fake) -> None:
    fake.clocks_khz = (1_200_000, 1_200_000)
    record = make_phone().measure(b"model", SETTINGS)
    assert record.flags == ("the core ran at 43% of its highest clock; a power mode or a cap may hold it there",)
    assert LatencyRecord.from_dict(record.to_dict()) == record


def test_a_wrong_output_names_the_difference_and_what_to_do(make_phone: Make, fake: Fake) -> None:
    fake.sums = (4.0, *[2.1] * 8, 0.0)
    error = failure(make_phone())
    assert error.kind == "wrong_output"
    assert "0.05 of its size, above 0.0001 for fp32" in str(error)


def test_a_quantised_model_is_not_blamed_on_the_runtime(
    make_phone: Make, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phone_module, "numbers_of", lambda model: "quantised")
    phone = make_phone()
    fake.sums = (4.0, *[2.1] * 8, 0.0)
    record = phone.measure(b"model", SETTINGS)
    assert record.output_check is not None
    assert (record.output_check.numbers, record.output_check.tolerance) == ("quantised", 0.1)
    fake.sums = (4.0, *[3.1] * 8, 0.0)
    assert "If models of fp32 agree on this phone, it is this and no fault" in str(failure(phone))


def crash() -> RunnerCrashedError:
    return RunnerCrashedError("signal 11")


def test_a_model_that_crashes_the_runner_twice_is_at_fault(make_phone: Make, fake: Fake) -> None:
    fake.failures = [crash(), crash()]
    error = failure(make_phone())
    assert isinstance(error, CandidateError)
    assert (error.stage, fake.connections) == ("run", 1)


def test_one_crash_is_no_fault_of_the_model(make_phone: Make, fake: Fake) -> None:
    fake.failures = [crash()]
    assert make_phone().measure(b"model", SETTINGS).accepted


def test_a_phone_that_cannot_run_the_reference_either_is_at_fault_itself(make_phone: Make, fake: Fake) -> None:
    fake.failures, fake.reference_failure = [crash()], PhoneGoneError("gone")
    assert failure(make_phone()).kind == "runner_died"


@pytest.mark.parametrize(
    ("now_ms", "passed"), [(1.0, True), (1.02, True), (0.96, True), (1.128, False), (0.872, False), (0.94, False)]
)
def test_a_check_fails_a_phone_that_is_slower_or_faster_than_when_it_was_added(now_ms: float, passed: bool) -> None:
    unit = PhoneUnit(serial="1A", address="usb:1A", reference_ms=1.0, calibration_ms=(1.0,), fingerprint="build 1")
    check = speed_check(now_ms, unit, "build 1", MeasurementSettings())
    assert (check.passed, "add it again" in check.remedy or passed) == (passed, True)


def test_a_check_says_that_a_profile_was_found_slow() -> None:
    unit = PhoneUnit(
        serial="1A", address="usb:1A", reference_ms=1.0, calibration_ms=(1.0,), slow_when_added="it took longer"
    )
    check = speed_check(1.0, unit, "build 1", MeasurementSettings())
    assert (check.passed, "added while slow: it took longer" in check.detail) == (False, True)


def test_a_check_after_an_update_does_not_compare_builds() -> None:
    unit = PhoneUnit(serial="1A", address="usb:1A", reference_ms=1.0, calibration_ms=(1.0,), fingerprint="build 1")
    assert speed_check(1.5, unit, "build 2", MeasurementSettings()).passed
