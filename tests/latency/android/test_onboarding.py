from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.adb import Address, ShellResult
from latency.android import onboarding
from latency.android.inspection import PhoneFacts
from latency.android.onboarding import (
    SCALE_SPREAD_LIMIT,
    _awake,
    _install,
    _look,
    _profile,
    _require_undistorted,
    scale_to,
)
from latency.android.phone import AdbPhone
from latency.android.preflight import static_checks
from latency.android.profile import PhoneProfile, PhoneUnit
from latency.errors import LatencyError, PhoneError, PhoneGoneError, ToolError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import PhoneConditions
from tests.latency.android.local_device import local_device

TIMES = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=5)


def device(calibration_ms: list[float]) -> PhoneUnit:
    return PhoneUnit(serial="1A", address="usb:1A", reference_ms=1.0, calibration_ms=tuple(calibration_ms))


@given(TIMES, st.floats(0.5, 2.0))
def test_a_device_that_is_slower_by_one_factor_is_scaled_by_it(first_ms: list[float], factor: float) -> None:
    slower_ms = [time_ms * factor for time_ms in first_ms]
    assert scale_to(device(first_ms), slower_ms, 2.0) == pytest.approx(1 / factor)


def test_devices_that_differ_by_more_than_one_factor_are_not_one_model() -> None:
    with pytest.raises(PhoneError, match="under a name of its own") as caught:
        scale_to(device([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0 * (1 + 2 * SCALE_SPREAD_LIMIT)], 0.1)
    assert caught.value.kind == "phone_differs"


def test_calibrations_of_different_length_cannot_be_compared() -> None:
    with pytest.raises(PhoneError, match="add it again"):
        scale_to(device([1.0, 2.0]), [1.0], 0.1)


@pytest.fixture
def noexec(tmp_path: Path) -> Iterator[Path]:
    """A folder that can be written to and runs no programs."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,noexec", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a folder without execution here: {mounted.stderr.strip()}")
    yield tmp_path / "mnas"
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=False)


def silent(text: str) -> None:
    pass


def test_a_folder_that_runs_no_programs_is_found_out_by_trying(noexec: Path) -> None:
    with pytest.raises(PhoneError, match=r"runs no programs \(mounted noexec.*--folder") as caught:
        _look(local_device(), str(noexec), silent)
    assert caught.value.kind == "phone_unsupported"


def test_the_next_folder_is_tried(
    noexec: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = str(tmp_path_factory.mktemp("good") / "mnas")
    monkeypatch.setattr(onboarding, "FOLDERS", (str(noexec), good))
    said: list[str] = []
    folder, facts = _look(local_device(), None, said.append)
    assert (folder, facts.folder_runnable) == (good, True)
    assert [str(noexec) in line for line in said] == [True]


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(PhoneError, match="/proc/nowhere/mnas cannot be written to"):
        _look(local_device(), "/proc/nowhere/mnas", silent)


PIXEL = PhoneFacts(
    serial="1A2B",
    model="Google Pixel 6",
    abi="arm64-v8a",
    android="14",
    fingerprint="google/oriole",
    boot_id="boot",
    max_khz={0: 1_800_000, 1: 1_800_000},
    hidden_khz={6: None, 7: 2_800_000},
    folder_writable=True,
    folder_runnable=True,
    has_bionic=True,
    free_mb=1000,
    missing_tools=(),
)


def awake_after(wakes: int, monkeypatch: pytest.MonkeyPatch) -> tuple[PhoneFacts, list[str]]:
    """The facts of a phone whose big cores are there after so many wakes, and what the user is told."""
    commands: list[str] = []

    def wake(argv: Sequence[str]) -> ShellResult:
        commands.append(argv[2])
        return ShellResult("", "", 0)

    def look(device: object, folder: str) -> PhoneFacts:
        asleep = len(commands) < wakes
        return PIXEL if asleep else replace(PIXEL, max_khz={**PIXEL.max_khz, 7: 2_800_000}, hidden_khz={})

    monkeypatch.setattr(onboarding, "inspect", look)
    said: list[str] = []
    facts = _awake(local_device(wake), "/data", PIXEL, said.append)
    assert all("input keyevent 224" in command for command in commands)
    return facts, said


def test_a_phone_whose_big_cores_are_off_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    facts, said = awake_after(2, monkeypatch)
    assert facts.big_core == 7
    assert said == ["waking it: core 6, 7 may be faster and cannot be used"] * 2


def test_cores_that_are_off_and_slow_are_said() -> None:
    said: list[str] = []
    _awake(local_device(), "/data", replace(PIXEL, hidden_khz={2: 1_000}), said.append)
    assert said == ["of its cores, 2 are switched off or kept from the adb shell"]


def test_a_phone_whose_big_cores_stay_off_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PhoneError, match=r"core 6, 7 may be faster.*svc power stayon true.*--core") as caught:
        awake_after(100, monkeypatch)
    assert caught.value.kind == "core_unavailable"


@pytest.mark.parametrize(
    ("address", "serial"),
    [("server:1A2B", "1A2B"), ("server:usb:1-4", "1A2B@usb:1-4"), ("usb:usb:1-4", "1A2B@usb:1-4"), ("tcp:h:1", "1A2B")],
)
def test_a_phone_that_is_named_by_its_place_is_kept_apart_from_another_of_its_serial(address: str, serial: str) -> None:
    profile = _profile("pixel", Address.parse(address), PIXEL, None, folder="/data", core=0, runtime=None)
    (unit,) = profile.units
    assert unit.serial == serial
    assert [unit.is_named(name) for name in ("1A2B", None, "other")] == [True, True, False]


ADDED = _profile("pixel", Address.parse("server:1A2B"), PIXEL, None, folder="/data", core=7, runtime=None)
UNAVAILABLE = ToolError("runtime_unavailable", "this machine has no npm")
CRASH = PhoneError("runner_died", "signal 11")


class Runtimes:
    """Stands for the installation: each runtime works or fails."""

    def __init__(self, faults: dict[str, LatencyError], monkeypatch: pytest.MonkeyPatch) -> None:
        self._faults = faults
        self.tried: list[str] = []
        self.said: list[str] = []
        monkeypatch.setattr(onboarding, "install_runner", self._install)

    def _install(self, device: object, profile: PhoneProfile, on_push: object) -> object:
        self.tried.append(profile.runtime)
        if profile.runtime in self._faults:
            raise self._faults[profile.runtime]
        return object()

    def choose(self, *runtimes: str) -> str:
        profile, _ = _install(local_device(), ADDED, runtimes, self.said.append)
        return profile.runtime


def test_bionic_is_tried_first_and_taken_if_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    runtimes = Runtimes({}, monkeypatch)
    assert (runtimes.choose("bionic", "glibc"), runtimes.tried) == ("bionic", ["bionic"])


@pytest.mark.parametrize("fault", [UNAVAILABLE, CRASH])
def test_glibc_takes_over_if_bionic_does_not_work_and_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, fault: LatencyError
) -> None:
    runtimes = Runtimes({"bionic": fault}, monkeypatch)
    assert runtimes.choose("bionic", "glibc") == "glibc"
    assert any(str(fault) in line for line in runtimes.said)


def test_a_runtime_that_the_user_named_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolError, match="no npm"):
        Runtimes({"bionic": UNAVAILABLE}, monkeypatch).choose("bionic")


def test_another_runtime_does_not_help_a_phone_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    runtimes = Runtimes({"bionic": PhoneGoneError("the cable")}, monkeypatch)
    with pytest.raises(PhoneGoneError):
        runtimes.choose("bionic", "glibc")
    assert runtimes.tried == ["bionic"]


@pytest.mark.parametrize(
    ("asked", "runtime", "aar"),
    [(None, "glibc", None), ("bionic", "bionic", None), ("glibc", "glibc", None), ("/x.aar", "bionic", "/x.aar")],
)
def test_the_runtime_that_was_asked_for_is_in_the_profile(asked: str | None, runtime: str, aar: str | None) -> None:
    profile = _profile("pixel", Address.parse("server:1A2B"), PIXEL, None, folder="/data", core=7, runtime=asked)
    assert (profile.runtime, profile.aar) == (runtime, aar)
    again = _profile("pixel", Address.parse("server:1A2B"), PIXEL, profile, folder="/data", core=7, runtime=None)
    assert again == profile


def test_a_timed_core_that_is_off_now_is_told_from_one_that_is_not_there() -> None:
    phone = AdbPhone(ADDED, ADDED.units[0])
    for core, words in ((7, "switched off or kept from the adb shell now; wake the phone"), (99, "is not there")):
        phone._profile = msgspec.structs.replace(ADDED, core=core)
        with pytest.raises(PhoneError, match=words) as caught:
            phone._require_same_unit(PIXEL)
        assert caught.value.kind == "core_unavailable"


@pytest.mark.parametrize(
    ("writable", "runnable", "words"),
    [(True, True, "/data"), (True, False, "/data runs no programs"), (False, False, "/data cannot be written to")],
)
def test_a_folder_must_be_writable_and_run_programs(writable: bool, runnable: bool, words: str) -> None:
    facts = replace(PIXEL, folder_writable=writable, folder_runnable=runnable)
    check = next(check for check in static_checks(facts, "/data", 0) if check.name == "folder")
    assert check.passed == (writable and runnable)
    assert words in check.detail


@pytest.mark.parametrize(("factor", "says"), [(1 / 0.62, "slow as 1A"), (0.62, "1A was 1.61 times as slow")])
def test_a_scale_that_equal_phones_cannot_have_names_the_slow_one(factor: float, says: str) -> None:
    with pytest.raises(PhoneError, match=says) as caught:
        scale_to(device([1.0, 2.0]), [factor, 2.0 * factor], 0.1)
    assert (caught.value.kind, "add it again" in str(caught.value)) == ("phone_differs", True)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (PhoneConditions(battery_saver=True), "phone_saving"),
        (PhoneConditions(thermal_status=2), "phone_hot"),
        (PhoneConditions(battery_percent=7, charging=False), "phone_slow"),
    ],
)
def test_a_phone_whose_state_distorts_its_best_times_is_not_added(state: PhoneConditions, kind: str) -> None:
    with pytest.raises(PhoneError, match="then add it again") as caught:
        _require_undistorted(Address.parse("usb:1A"), state, MeasurementSettings())
    assert caught.value.kind == kind


@pytest.mark.parametrize("state", [PhoneConditions(), PhoneConditions(0, 30.0, 80, True, battery_saver=False)])
def test_a_phone_at_rest_and_one_that_tells_nothing_are_added(state: PhoneConditions) -> None:
    _require_undistorted(Address.parse("usb:1A"), state, MeasurementSettings())
