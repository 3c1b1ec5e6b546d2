from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.adb import Address, ShellResult
from latency.android import onboarding
from latency.android.inspection import PhoneFacts
from latency.android.onboarding import SCALE_SPREAD_LIMIT, _awake, _look, _profile, scale_to
from latency.android.profile import PhoneUnit
from latency.errors import PhoneError
from tests.latency.android.local_device import local_device

TIMES = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=5)


def device(calibration_ms: list[float]) -> PhoneUnit:
    return PhoneUnit(serial="1A", address="usb:1A", reference_ms=1.0, calibration_ms=tuple(calibration_ms))


@given(TIMES, st.floats(0.5, 2.0))
def test_a_device_that_is_slower_by_one_factor_is_scaled_by_it(first_ms: list[float], factor: float) -> None:
    slower_ms = [time_ms * factor for time_ms in first_ms]
    assert scale_to(device(first_ms), slower_ms) == pytest.approx(1 / factor)


def test_devices_that_differ_by_more_than_one_factor_are_not_one_model() -> None:
    with pytest.raises(PhoneError, match="under a name of its own") as caught:
        scale_to(device([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0 * (1 + 2 * SCALE_SPREAD_LIMIT)])
    assert caught.value.kind == "phone_differs"


def test_calibrations_of_different_length_cannot_be_compared() -> None:
    with pytest.raises(PhoneError, match="add it again"):
        scale_to(device([1.0, 2.0]), [1.0])


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


def test_a_phone_whose_big_cores_stay_off_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PhoneError, match=r"core 6, 7 may be faster.*svc power stayon true.*--core") as caught:
        awake_after(100, monkeypatch)
    assert caught.value.kind == "core_unavailable"


@pytest.mark.parametrize(
    ("address", "serial"),
    [("server:1A2B", "1A2B"), ("server:usb:1-4", "1A2B@usb:1-4"), ("usb:usb:1-4", "1A2B@usb:1-4"), ("tcp:h:1", "1A2B")],
)
def test_a_phone_that_is_named_by_its_place_is_kept_apart_from_another_of_its_serial(address: str, serial: str) -> None:
    profile = _profile("pixel", Address.parse(address), PIXEL, None, folder="/data", core=0, aar=None)
    (unit,) = profile.units
    assert unit.serial == serial
    assert [unit.is_named(name) for name in ("1A2B", None, "other")] == [True, True, False]
