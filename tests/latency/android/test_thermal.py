from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from latency.adb import AdbDevice, connect
from latency.android.thermal import too_hot, wait_until_cool
from latency.errors import PhoneError
from latency.loopback.adbd import Adbd
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import PhoneConditions

SETTINGS = MeasurementSettings(thermal_status_limit=1, temperature_limit_c=40.0)


@pytest.mark.parametrize(
    ("state", "hot"),
    [
        (PhoneConditions(), False),
        (PhoneConditions(thermal_status=1, battery_temperature_c=40.0), False),
        (PhoneConditions(thermal_status=2), True),
        (PhoneConditions(battery_temperature_c=40.1), True),
    ],
)
def test_a_phone_is_hot_above_either_limit(state: PhoneConditions, hot: bool) -> None:
    assert (too_hot(state, SETTINGS) is not None) == hot


def test_a_phone_that_stays_hot_is_an_error_that_says_how_hot(adbd: Adbd, monkeypatch: pytest.MonkeyPatch) -> None:
    # Debian has no dumpsys: this one says what Android's would.
    tool = adbd.folder / "dumpsys"
    tool.write_text("#!/bin/sh\necho 'Thermal Status: 3'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{adbd.folder}:/usr/bin:/bin")
    adbd.restart()
    with connect(adbd.address) as device, pytest.raises(PhoneError, match="thermal status 3 is above 1") as caught:
        wait_until_cool(device, replace(SETTINGS, thermal_timeout_s=0.0))
    assert caught.value.kind == "phone_hot"


def test_a_cool_phone_is_not_waited_for(adbd: Adbd, tmp_path: Path) -> None:
    def wait() -> None:
        raise AssertionError("waited")

    with connect(adbd.address) as device:
        assert isinstance(device, AdbDevice)
        assert wait_until_cool(device, SETTINGS, wait) == PhoneConditions()


def test_waiting_for_a_hot_phone_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hot, cool = PhoneConditions(thermal_status=3), PhoneConditions(thermal_status=0)
    states = iter([hot, hot, cool])
    monkeypatch.setattr("latency.android.thermal.conditions", lambda device: next(states))
    monkeypatch.setattr("latency.android.thermal._POLL_S", 0.0)
    caplog.set_level(logging.INFO, "latency")
    device = cast(AdbDevice, SimpleNamespace(serial="usb:1A2B"))
    assert wait_until_cool(device, SETTINGS) == cool
    assert caplog.messages == ["usb:1A2B: thermal status 3 is above 1; waiting up to 600 s until it is cooler"]
