from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.adb import connect
from latency.android.inspection import conditions, inspect, parse_conditions, parse_facts
from latency.loopback.adbd import Adbd
from latency.measurement.record import PhoneConditions

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
    assert facts is not None
    assert (facts.serial, facts.model, facts.abi, facts.android) == ("1A2B3C4D", "Google Pixel 6", "arm64-v8a", "14")
    assert facts.fingerprint.startswith("google/oriole")
    assert (facts.folder_writable, facts.free_mb, facts.missing_tools) == (True, 82304202 // 1024, ())


def test_only_cores_that_the_shell_may_use_count_and_the_last_fast_one_is_big() -> None:
    facts = parse_facts(ANDROID)
    assert facts is not None
    assert (facts.cores, facts.big_core) == (6, 7)


def test_a_core_that_may_not_be_used_is_not_chosen_though_it_is_fast() -> None:
    facts = parse_facts(ANDROID.replace("0-3,6-7", "0-5"))
    assert facts is not None
    assert facts.big_core == 5


def test_missing_tools_are_told() -> None:
    facts = parse_facts(ANDROID + "missing=timeout\nmissing=sha256sum\n")
    assert facts is not None
    assert facts.missing_tools == ("timeout", "sha256sum")


@given(st.text())
def test_any_other_text_is_not_taken_for_a_phone(text: str) -> None:
    assert parse_facts(text.replace("machine=", "")) is None


def test_a_daemon_without_android_is_understood(adbd: Adbd) -> None:
    with connect(adbd.address) as device:
        facts = inspect(device, str(adbd.folder / "mnas"))
    assert (facts.abi, facts.android, facts.serial) == ("x86_64", None, None)
    assert facts.is_this_machine
    assert facts.folder_writable
    assert facts.missing_tools == ()


def test_what_cannot_be_read_is_unknown(adbd: Adbd) -> None:
    with connect(adbd.address) as device:
        assert conditions(device) == PhoneConditions()


@pytest.mark.parametrize(
    ("text", "charging"), [("USB powered: false\nAC powered: true", True), ("AC powered: false", False), ("", None)]
)
def test_a_phone_charges_when_any_source_powers_it(text: str, charging: bool | None) -> None:
    assert parse_conditions(text).charging is charging
