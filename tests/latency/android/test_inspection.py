from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.adb import AdbDevice, connect
from latency.android.inspection import conditions, inspect, parse_conditions, parse_facts
from latency.errors import PhoneError
from latency.loopback.adbd import Adbd
from latency.measurement.record import PhoneConditions
from tests.latency.adb.fake_transport import SHELL, device_that_sends, packet


def answering(text: str) -> AdbDevice:
    """A phone that answers everything with this text."""
    data = text.encode()
    opened = packet(b"OKAY", 7, 1)
    printed = SHELL.pack(1, len(data)) + data + SHELL.pack(3, 1) + b"\0"
    return device_that_sends(opened, opened, packet(b"WRTE", 7, 1, printed))


# As a Pixel with Android 14 answers, by the documentation of its tools; no phone has been asked yet.
ANDROID = """\
abi=arm64-v8a
model=Google Pixel 6
android=14
fingerprint=google/oriole/oriole:14/UQ1A.240105.002/11167989:user/release-keys
serial=1A2B3C4D
machine=aarch64
system=Linux 5.10.177
processor=
boot_id=aaaa
allowed=Cpus_allowed_list:\t0-3,6-7
max_khz=0 1803000
max_khz=1 1803000
max_khz=2 1803000
max_khz=3 1803000
max_khz=4 2253000
max_khz=5 2253000
max_khz=6 2802000
max_khz=7 2802000
writable=yes
free=/dev/block/dm-10 112607232 30303030 82304202  27% /data
"""


def test_an_android_phone_is_understood() -> None:
    facts = parse_facts(ANDROID)
    assert (facts.serial, facts.model, facts.abi, facts.android) == ("1A2B3C4D", "Google Pixel 6", "arm64-v8a", "14")
    assert facts.fingerprint.startswith("google/oriole")
    assert (facts.folder_writable, facts.free_mb, facts.missing_tools) == (True, 82304202 // 1024, ())


def test_only_cores_that_the_shell_may_use_count_and_the_last_fast_one_is_big() -> None:
    facts = parse_facts(ANDROID)
    assert (facts.cores, facts.big_core) == (6, 7)


def test_a_core_that_may_not_be_used_is_not_chosen_though_it_is_fast() -> None:
    facts = parse_facts(ANDROID.replace("0-3,6-7", "0-5"))
    assert facts.big_core == 5


def test_missing_tools_are_told() -> None:
    facts = parse_facts(ANDROID + "missing=timeout\nmissing=sha256sum\n")
    assert facts.missing_tools == ("timeout", "sha256sum")


def test_a_core_that_is_switched_off_counts_as_hidden_and_may_be_the_fastest() -> None:
    facts = parse_facts(ANDROID.replace("0-3,6-7", "0-7").replace("max_khz=7 2802000", "max_khz=7 ") + "online=0-5,6\n")
    assert (sorted(facts.max_khz), facts.hidden_khz) == ([0, 1, 2, 3, 4, 5, 6], {7: None})
    assert (facts.big_core, facts.hidden_big_cores) == (6, [7])


def test_a_core_outside_the_shells_cpuset_is_hidden_and_known_to_be_faster() -> None:
    facts = parse_facts(ANDROID.replace("0-3,6-7", "0-5") + "present=0-7\nonline=0-7\n")
    assert (facts.big_core, facts.hidden_big_cores) == (5, [6, 7])


def test_a_core_is_hidden_that_only_the_list_of_those_present_knows() -> None:
    assert parse_facts(ANDROID + "present=0-8\n").hidden_big_cores == [8]


def test_slow_hidden_cores_are_no_big_ones() -> None:
    assert parse_facts(ANDROID + "present=0-7\n").hidden_big_cores == []  # 4 and 5 are slower than 7.


def test_where_no_frequency_can_be_read_no_hidden_core_is_taken_for_a_big_one() -> None:
    facts = parse_facts("machine=x86_64\nallowed=Cpus_allowed_list: 0-1\nmax_khz=0 \npresent=0-63\n")
    assert (len(facts.hidden_khz), facts.hidden_big_cores) == (62, [])


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("allowed=Cpus_allowed_list: 0-999999999", "cores that the adb shell may use"),
        ("allowed=Cpus_allowed_list: 7-0", "cores that the adb shell may use"),
        ("allowed=Cpus_allowed_list: 0,,1", "cores that the adb shell may use"),
        ("present=all of them", "cores that are present"),
        ("online=0-4096", "cores that are online"),
        ("max_khz=0 fast", "cpuinfo_max_freq"),
        ("max_khz=0 ²", "cpuinfo_max_freq"),
        ("max_khz=0 99999999999999", "cpuinfo_max_freq"),
        ("max_khz=99999 1", "/sys/devices/system/cpu"),
        ("max_khz=x 1", "/sys/devices/system/cpu"),
        ("free=plenty", "free space"),
        ("model=\x1b]0;pwned\x07", "ro.product.model"),
        (f"serial={'A' * 501}", "ro.serialno"),
        ("fingerprint=\x1b[2J", "ro.build.fingerprint"),
        ("processor=model name: \x9b", "/proc/cpuinfo"),
        ("abi=arm\x00", "ro.product.cpu.abi"),
        ("android=\x7f", "ro.build.version.release"),
        ("boot_id=\u202e", "boot_id"),
        ("machine=\x1b", "uname -m"),
    ],
)
def test_a_fact_that_makes_no_sense_is_named(line: str, fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        parse_facts(f"{ANDROID}{line}\n")


@pytest.mark.parametrize("parse", [parse_facts, parse_conditions])
def test_an_answer_of_many_megabytes_is_not_read(parse: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match="1048577 characters"):
        parse("=" * (1 << 20) + "\n")


@pytest.mark.parametrize(
    ("free", "free_mb"),
    [
        ("/dev/fuse  112607232 30303030 82304202  27% /data", 80375),
        ("a name with spaces 2048 0 1024 0% /data", 1),
        ("2048 0 1024 0% /a line of its own", 1),
        ("tmpfs 0 0 0 - /data", 0),
        ("overlay 10 20 -10 100% /", 0),
        ("", None),
    ],
)
def test_the_free_space_is_read_in_every_form_of_df(free: str, free_mb: int | None) -> None:
    assert parse_facts(ANDROID.replace(ANDROID.splitlines()[-1], f"free={free}")).free_mb == free_mb


ASKED = [line.partition("=")[0] for line in ANDROID.splitlines()] + ["present", "online", "missing", "linker"]
LINES = st.lists(st.tuples(st.sampled_from(ASKED), st.text(max_size=20) | st.from_regex("[0-9,% -]{0,12}")), max_size=5)


@given(LINES)
def test_any_facts_are_understood_or_refused_with_a_value_error(lines: list[tuple[str, str]]) -> None:
    text = ANDROID + "".join(f"{key}={value}\n" for key, value in lines)
    try:
        facts = parse_facts(text)
    except ValueError:
        return
    assert len(facts.max_khz) + len(facts.hidden_khz) <= 4096


@given(st.text())
def test_any_other_text_is_not_taken_for_a_phone(text: str) -> None:
    with pytest.raises(ValueError, match=r"core|shell does not answer|cpu|free|must be printable"):
        parse_facts(text.replace("machine=", ""))


@pytest.mark.parametrize("garbage", ["\x1b]0;pwned\x07\x1b[2Jgarbage\n", "allowed=Cpus_allowed_list: 0-999999999\n"])
def test_a_phone_that_answers_garbage_is_named(garbage: str) -> None:
    with pytest.raises(PhoneError, match="usb:1A2B: ") as caught:
        inspect(answering(garbage), "/data")
    assert caught.value.kind == "phone_unsupported"


@pytest.mark.parametrize(
    "text", ["Thermal Status: 9", f"Thermal Status: {'9' * 5000}", "  level: 101", "  temperature: -99999"]
)
def test_conditions_that_make_no_sense_are_an_error_that_names_the_phone(text: str) -> None:
    with pytest.raises(PhoneError, match=r"usb:1A2B: the (thermal|battery)"):
        conditions(answering(text))


def test_a_daemon_without_android_is_understood(adbd: Adbd) -> None:
    with connect(adbd.address) as device:
        facts = inspect(device, str(adbd.folder / "mnas"))
    assert (facts.abi, facts.android, facts.serial) == ("x86_64", None, None)
    assert facts.is_this_machine
    assert facts.folder_writable
    assert facts.folder_runnable
    assert not list((adbd.folder / "mnas").iterdir())
    assert facts.missing_tools == ()


def test_what_cannot_be_read_is_unknown(adbd: Adbd) -> None:
    with connect(adbd.address) as device:
        assert conditions(device) == PhoneConditions()


@pytest.mark.parametrize(
    ("text", "charging"), [("USB powered: false\nAC powered: true", True), ("AC powered: false", False), ("", None)]
)
def test_a_phone_charges_when_any_source_powers_it(text: str, charging: bool | None) -> None:
    assert parse_conditions(text).charging is charging
