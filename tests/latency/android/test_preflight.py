from __future__ import annotations

import pytest

from latency.android.inspection import parse_conditions
from latency.android.preflight import condition_checks
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import PhoneConditions


@pytest.mark.parametrize(("told", "known"), [("1", True), ("0", False), ("null", None), ("", None)])
def test_the_battery_saver_is_read_from_the_settings(told: str, known: bool | None) -> None:
    assert parse_conditions(f"  level: 80\nbattery saver: {told}\n").battery_saver == known


@pytest.mark.parametrize(("saver", "passed"), [(True, False), (False, True), (None, True)])
def test_a_battery_saver_fails_the_check(saver: bool | None, passed: bool) -> None:
    checks = {each.name: each for each in condition_checks(PhoneConditions(battery_saver=saver), MeasurementSettings())}
    assert checks["battery saver"].passed == passed
    assert passed or "low_power 0" in checks["battery saver"].remedy
