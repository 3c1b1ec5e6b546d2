"""`mnas phones check`, one answer at a time.

The questions go from the cable to the first accepted measurement.
"""

from __future__ import annotations

from collections.abc import Iterator

from latency.adb.address import Address
from latency.adb.connect import connect
from latency.adb.device import AdbDevice
from latency.android.inspection import conditions, inspect
from latency.android.phone import AdbPhone, install_runner
from latency.android.preflight import Check, OnStep, condition_checks, static_checks
from latency.android.profile import PhoneProfile, PhoneUnit
from latency.android.runner_session import PhoneRunner
from latency.errors import LatencyError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.reference_network import calibration_models


def check_phone(profile: PhoneProfile, unit: PhoneUnit, on_step: OnStep = lambda text: None) -> Iterator[Check]:
    """Yield the answers one by one.

    Stop after one that makes the next ones impossible.

    Args:
        profile: The model of phone.
        unit: The phone to check.
        on_step: Called with what is done next, before each step that may take long.
    """
    settings = profile.settings({})
    on_step(f"connecting to {unit.address}")
    try:
        device = connect(Address.parse(unit.address))
    except LatencyError as error:
        yield Check("connection", False, str(error), "`mnas phones list` shows what is attached")
        return
    with device:
        yield Check("connection", True, unit.address)
        try:
            yield from _checks_of_device(device, profile, unit, settings, on_step)
        except LatencyError as error:
            yield Check("questions", False, str(error), "connect the phone again and repeat the check")
            return
    on_step("timing a network")
    yield from _measurement(profile, unit, settings)


def _checks_of_device(
    device: AdbDevice, profile: PhoneProfile, unit: PhoneUnit, settings: MeasurementSettings, on_step: OnStep
) -> Iterator[Check]:
    on_step("asking what it is")
    facts = inspect(device, profile.folder)
    yield Check(
        "device",
        unit.is_named(facts.serial),
        facts.serial or unit.serial,
        f"the profile's unit is {unit.serial}; connect that one, or add this one: mnas phones add",
    )
    yield from static_checks(facts, profile.folder, profile.core)
    yield from condition_checks(conditions(device), settings)
    on_step("comparing the runtime on it")
    runner = install_runner(device, profile, lambda name: on_step(f"pushing {name}"))
    yield Check("runtime", True, f"{runner.engine} {runner.engine_version}, hashes right")
    if isinstance(runner, PhoneRunner):
        on_step("finding the best time of the reference network")
        now_ms = runner.best_of_reference(settings)
        drift = now_ms / unit.reference_ms - 1
        yield Check(
            "speed",
            drift <= settings.drift_limit,
            f"reference network {now_ms:.4f} ms, {unit.reference_ms:.4f} ms when it was added ({drift:+.1%})",
            "it is slower than it was: let it cool, leave its battery saver, close its apps; if it stays so, add it "
            "again",
        )


def _measurement(profile: PhoneProfile, unit: PhoneUnit, settings: MeasurementSettings) -> Iterator[Check]:
    phone = AdbPhone(profile, unit)
    try:
        record = phone.measure(calibration_models()[0], settings)
    except LatencyError as error:
        yield Check("measurement", False, str(error), "see the lines above; then check again")
    else:
        detail = f"{record.latency_ms:.4f} ms, windows tried: {record.attempts}, output equals the host's"
        yield Check("measurement", True, detail)
    finally:
        phone.close()
