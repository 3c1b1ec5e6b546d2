from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.android.onboarding import SCALE_SPREAD_LIMIT, scale_to
from latency.android.profile import PhoneUnit
from latency.errors import PhoneError

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
