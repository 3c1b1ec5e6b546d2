"""`check` and `remove` wait for a measurement that another process does: they would end its runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from latency.android.checkup import check_phone
from latency.android.profile import PhoneProfile, PhoneUnit, profile_path, write_profile
from latency.leases.between_processes import PhoneLeases
from mnas.cli import main
from mnas.cli.phones import remove

UNIT = PhoneUnit(serial="1A", address="tcp:127.0.0.1:9", reference_ms=1.0, calibration_ms=(1.0,))
PROFILE = PhoneProfile(name="pixel", model="maker phone", abi="arm64-v8a", core=7, units=(UNIT,))


@pytest.fixture
def held(tmp_path: Path) -> PhoneLeases:
    """The leases of a process that does not wait long; the phone's belongs to another one in the test."""
    return PhoneLeases(tmp_path / "leases", wait_s=0.1)


def test_check_says_that_the_phone_is_in_use(held: PhoneLeases, tmp_path: Path) -> None:
    with PhoneLeases(tmp_path / "leases").hold("1A"):
        (check,) = check_phone(PROFILE, UNIT, leases=held)
    assert (check.name, check.passed, "in use by process" in check.detail) == ("connection", False, True)
    assert check.remedy == "check again when that measurement has ended"


def test_remove_leaves_a_phone_in_use_as_it_is(
    held: PhoneLeases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MNAS_PHONES", str(tmp_path / "phones"))
    monkeypatch.setattr(remove, "user_leases", lambda: held)
    write_profile(PROFILE)
    with PhoneLeases(tmp_path / "leases").hold("1A"):
        assert main(["phones", "remove", "pixel"]) == 1
    assert "in use by process" in capsys.readouterr().err
    assert profile_path("pixel").exists()


def test_remove_forgets_a_phone_that_is_gone(
    held: PhoneLeases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MNAS_PHONES", str(tmp_path / "phones"))
    monkeypatch.setattr(remove, "user_leases", lambda: held)
    write_profile(PROFILE)
    assert main(["phones", "remove", "pixel"]) == 0
    assert not profile_path("pixel").exists()
