"""`mnas phones` from cable to number, on a real adbd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latency.android import onboarding
from latency.android.profile import read_profile
from latency.loopback.adbd import Adbd
from latency.measurement.reference_network import reference_model
from mnas.cli import main

# Quick, and accepts what a busy test machine gives: what is refused is tested with the protocol.
TOLERANT = [
    word
    for change in (
        *("calibration_s=0.05", "warmup_min_ms=5", "warmup_runs=2", "runs=10", "drift_limit=1000"),
        *("others_busy_limit=1000", "contention_limit=10", "relative_mad_limit=1", "switches_per_s_limit=1e6"),
        *("session_spread_limit=1000", "faster_limit=1", "scale_limit=1000"),
    )
    for word in ("--set", change)
]


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MNAS_PHONES", str(tmp_path / "phones"))
    monkeypatch.setenv("MNAS_LATENCY_CACHE", "off")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")  # No adb server of this machine takes part.
    return tmp_path / "phones"


def add(adbd: Adbd, *arguments: str, name: str = "loopback") -> int:
    target = adbd.address.target
    return main(["phones", "add", name, "--tcp", target, "--folder", str(adbd.folder / "mnas"), *TOLERANT, *arguments])


@pytest.fixture
def added(adbd: Adbd, capsys: pytest.CaptureFixture[str]) -> Adbd:
    assert add(adbd) == 0
    capsys.readouterr()
    return adbd


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(reference_model(16, 20))
    return path


def output(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_add_writes_a_profile_with_what_the_phone_is(
    adbd: Adbd, profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(adbd, "--json") == 0
    shown = output(capsys)
    profile = read_profile("loopback")
    assert shown["path"] == str(profiles / "loopback.yaml")
    assert (profile.abi, profile.android, profile.shares_this_machine) == ("x86_64", None, True)
    assert [device.address for device in profile.units] == [str(adbd.address)]
    assert profile.measurement["runs"] == 10


def test_add_says_on_standard_error_what_it_does(adbd: Adbd, capsys: pytest.CaptureFixture[str]) -> None:
    add(adbd)
    shown = capsys.readouterr()
    assert "pushing libonnxruntime.so" in shown.err
    assert "mnas phones measure MODEL.onnx --phone loopback" in shown.out


def test_a_second_phone_of_the_model_becomes_a_device_scaled_to_the_first(
    added: Adbd, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy test machine is not as steady as a phone; the limit itself is tested with `scale_to`.
    monkeypatch.setattr(onboarding, "SCALE_SPREAD_LIMIT", 1000.0)
    with Adbd(added.root, added.folder) as second:  # Both see this machine's files: one folder for both.
        assert add(second) == 0
    profile = read_profile("loopback")
    assert len(profile.units) == 2
    first, other = profile.units
    ratios = [ours / theirs for ours, theirs in zip(first.calibration_ms, other.calibration_ms, strict=True)]
    assert min(ratios) <= other.scale <= max(ratios)


def test_the_same_phone_again_renews_its_entry(added: Adbd) -> None:
    assert add(added, "--core", "0") == 0
    profile = read_profile("loopback")
    assert (len(profile.units), profile.core) == (1, 0)


def test_a_failed_add_leaves_no_profile(adbd: Adbd, profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adbd.kill()
    assert add(adbd) == 1
    assert not list(profiles.glob("*"))
    assert "Traceback" not in capsys.readouterr().err


def test_list_shows_what_was_added_and_what_can_be(added: Adbd, capsys: pytest.CaptureFixture[str]) -> None:
    with Adbd(added.root, added.folder) as stranger:
        assert main(["phones", "list", "--tcp", stranger.address.target, "--json"]) == 0
        phones = {phone["address"]: phone for phone in output(capsys)["phones"]}
        strange = phones[str(stranger.address)]
    assert (strange["name"], strange["state"]) == (None, "ready")
    assert (phones[str(added.address)]["name"], phones[str(added.address)]["state"]) == ("loopback", "ready")


def test_list_says_what_to_do_about_a_phone_that_is_gone(added: Adbd, capsys: pytest.CaptureFixture[str]) -> None:
    added.kill()
    assert main(["phones", "list", "--json"]) == 0
    (phone,) = output(capsys)["phones"]
    assert phone["state"] == "unreachable"
    assert phone["remedy"]


def test_check_passes_a_good_phone_line_by_line(added: Adbd, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phones", "check", "loopback", "--json"]) == 0
    shown = output(capsys)
    assert shown["passed"]
    assert [check["name"] for check in shown["checks"]] == [
        *("connection", "device", "architecture", "tools", "folder", "free space", "cores", "temperature", "battery"),
        *("battery saver", "runtime", "speed", "measurement", "clock"),
    ]


def test_check_of_a_phone_that_is_gone_fails_with_a_remedy(added: Adbd, capsys: pytest.CaptureFixture[str]) -> None:
    added.kill()
    assert main(["phones", "check", "loopback"]) == 1
    shown = capsys.readouterr().out
    assert "FAIL  connection" in shown
    assert "`mnas phones list` shows what is attached" in shown


def test_measure_gives_the_whole_record(added: Adbd, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phones", "measure", str(model), "--phone", "loopback", "--sessions", "2", "--json"]) == 0
    record = output(capsys)
    assert (record["accepted"], len(record["sessions"]), record["phone"]["kind"]) == (True, 2, "adb")
    assert record["latency_ms"] > 0


def test_measure_refuses_what_is_no_model(added: Adbd, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"not a network")
    assert main(["phones", "measure", str(path), "--phone", "loopback"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_remove_forgets_the_phone_and_cleans_it(added: Adbd, profiles: Path) -> None:
    theirs = added.folder / "mnas" / "holiday.jpg"
    theirs.write_text("not ours")
    assert main(["phones", "remove", "loopback"]) == 0
    assert not list(profiles.glob("*.yaml"))
    assert [path.name for path in (added.folder / "mnas").iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["phones", "add", "a/b", "--tcp", "127.0.0.1:1"], "cannot be the name of a phone"),
        (["phones", "add", "x", "--tcp", "127.0.0.1:port"], "the port 'port'"),
        (["phones", "add", "x", "--tcp", "127.0.0.1:1", "--set", "run=1"], "unknown field 'run'"),
        (["phones", "check", "nobody"], "no phone is called 'nobody'"),
        (["phones", "remove", "nobody"], "no phone is called 'nobody'"),
    ],
)
def test_bad_arguments_are_told_and_end_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
