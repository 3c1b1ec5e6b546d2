from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from latency.android.profile import (
    BenchmarkProgram,
    PhoneProfile,
    PhoneUnit,
    profile_names,
    profile_path,
    read_profile,
    write_profile,
)
from latency.errors import PhoneError, ProfileError
from mnas.documents.yaml_file import dump


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MNAS_PHONES", str(tmp_path / "phones"))
    return tmp_path / "phones"


def profile(**changes: object) -> PhoneProfile:
    device = PhoneUnit(serial="1A2B", address="usb:1A2B", reference_ms=0.3, calibration_ms=(1.0, 0.3, 2.0))
    return PhoneProfile(
        name="pixel6",
        model="Google Pixel 6",
        abi="arm64-v8a",
        core=7,
        units=(device,),
        measurement={"cooldown_s": 20.0, "runs": 30},
        **changes,  # type: ignore[arg-type]  # Each test gives a field of its own type.
    )


def test_a_written_profile_reads_back_the_same() -> None:
    program = BenchmarkProgram(program="perf", command=("{program}", "{model}"), pattern="(?P<time>.*)", unit="us")
    written = profile(android="14", benchmark=program)
    write_profile(written)
    assert read_profile("pixel6") == written


def test_the_names_are_those_of_the_files() -> None:
    write_profile(profile())
    assert profile_names() == ["pixel6"]


def test_settings_come_from_the_profile_and_changes_go_before() -> None:
    settings = profile().settings({"runs": 5})
    assert (settings.runs, settings.cooldown_s) == (5, 20.0)


@pytest.mark.parametrize("name", ["", "host", "../escape", "a/b", "-x", "x" * 65, "with space"])
def test_a_name_that_no_file_should_have_is_refused(name: str) -> None:
    with pytest.raises(PhoneError, match="cannot be the name of a phone") as caught:
        profile_path(name)
    assert caught.value.kind == "phone_unknown"


def test_an_unknown_phone_names_the_known_ones() -> None:
    write_profile(profile())
    with pytest.raises(PhoneError, match=r"no phone is called 'pixel'; known: host \(this machine\), pixel6"):
        read_profile("pixel")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("core: -1", "core"),
        ("folder: data", "`folder` is 'data'; it must start with /"),
        ("measurement: {runs: 0}", "runs is 0"),
        ("measurement: {patience: 3}", "patience"),
        ("colour: red", "colour"),
        ("devices: []", "devices"),
        (
            "devices: [{serial: A, address: 'wifi:A', reference_ms: 1, calibration_ms: [1]}]",
            "must have one of the forms tcp:HOST",
        ),
        ("name: other", "its name is 'other'"),
        ("benchmark: {program: p, command: [p], pattern: '(?P<time>.)', unit: ms}", "does not name `{model}`"),
        ("benchmark: {program: p, command: ['{model}'], pattern: '(', unit: ms}", "no regular expression"),
        ("benchmark: {program: p, command: ['{model}'], pattern: 'x', unit: ms}", "no group"),
        ("benchmark: {program: p, command: ['{model}'], pattern: '(?P<time>.)', unit: h}", "unit"),
    ],
)
def test_a_profile_that_breaks_a_rule_is_refused_with_the_rule(folder: Path, change: str, message: str) -> None:
    write_profile(profile())
    key = change.partition(":")[0]
    lines = msgspec.to_builtins(profile())
    lines.pop(key, None)
    (folder / "pixel6.yaml").write_text(dump(lines) + change + "\n")
    with pytest.raises(PhoneError) as caught:
        read_profile("pixel6")
    assert caught.value.kind == "profile_invalid"
    assert message in str(caught.value)


def test_writing_follows_no_link(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder.mkdir()
    for name in ("pixel6.tmp", "pixel6.yaml"):
        (folder / name).symlink_to(victim)
    write_profile(profile())
    assert (victim.read_text(), read_profile("pixel6")) == ("precious", profile())


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    folder.write_text("a file stands here")
    with pytest.raises(ProfileError, match=r"phones/pixel6\.yaml: cannot be written .* MNAS_PHONES"):
        write_profile(profile())
