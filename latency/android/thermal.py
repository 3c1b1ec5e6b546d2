"""The thermal gate: a hot phone throttles, so nothing is timed on one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from latency.adb.device import AdbDevice
from latency.android.inspection import conditions
from latency.errors import PhoneError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import PhoneConditions

_POLL_S = 5.0

_LOG = logging.getLogger(__name__)


def too_hot(state: PhoneConditions, settings: MeasurementSettings) -> str | None:
    """Return why a phone is too hot to start a measurement.

    Returns:
        None if it is not, or if nothing can be read.
    """
    if state.thermal_status is not None and state.thermal_status > settings.thermal_status_limit:
        return f"thermal status {state.thermal_status} is above {settings.thermal_status_limit}"
    temperature_c = state.battery_temperature_c
    if temperature_c is not None and temperature_c > settings.temperature_limit_c:
        return f"the battery has {temperature_c:g} °C, above {settings.temperature_limit_c:g}"
    return None


def wait_until_cool(
    device: AdbDevice, settings: MeasurementSettings, on_wait: Callable[[], None] = lambda: None
) -> PhoneConditions:
    """Wait until the phone is cool enough, and return its conditions.

    Args:
        device: The connected phone.
        settings: The measurement protocol.
        on_wait: Called after each pause.

    Raises:
        PhoneError: `phone_hot`: it is still hot after `thermal_timeout_s`. The kinds of the transport.
    """
    deadline = time.monotonic() + settings.thermal_timeout_s
    said = False
    while True:
        state = conditions(device)
        hot = too_hot(state, settings)
        if hot is None:
            return state
        if time.monotonic() >= deadline:
            raise PhoneError(
                "phone_hot",
                f"{device.serial}: {hot}, for {settings.thermal_timeout_s:g} s; cool it: take it out of its case and "
                "off its fast charger",
            )
        if not said:
            said = True
            _LOG.info("%s: %s; waiting up to %g s until it is cooler", device.serial, hot, settings.thermal_timeout_s)
        time.sleep(_POLL_S)
        on_wait()
