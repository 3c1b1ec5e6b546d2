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
from latency.leases.adb_phone import hold_adb_phone
from latency.leases.between_processes import PhoneLeases, user_leases
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.reference_network import calibration_models

CHECK_LEASE_S = 600.0


def check_phone(
    profile: PhoneProfile,
    unit: PhoneUnit,
    on_step: OnStep = lambda text: None,
    leases: PhoneLeases | None = None,
) -> Iterator[Check]:
    """Yield the answers one by one.

    Stop after one that makes the next ones impossible.

    Args:
        profile: The model of phone.
        unit: The phone to check.
        on_step: Called with what is done next, before each step that may take long.
        leases: The leases between processes; those of this user if None. A measurement of another process ends first.
    """
    settings = profile.settings({})
    on_step(f"connecting to {unit.address}, after the measurement that another process may do on it")
    connected = False
    try:
        address, leases = Address.parse(unit.address), leases or user_leases()
        held = hold_adb_phone(leases, unit.serial, lambda: connect(address), profile.folder, CHECK_LEASE_S)
        with held as (device, _):
            connected = True
            yield Check("connection", True, unit.address)
            yield from _checks_of_device(device, profile, unit, settings, on_step)
    except LatencyError as error:
        if connected:
            yield Check("questions", False, str(error), "connect the phone again and repeat the check")
        elif error.kind == "phone_busy":
            yield Check("connection", False, str(error), "check again when that measurement has ended")
        else:
            yield Check("connection", False, str(error), "`mnas phones list` shows what is attached")
        return
    on_step("timing a network")
    yield from _measurement(profile, unit, settings, leases)


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
        yield speed_check(runner.best_of_reference(settings), unit, facts.fingerprint, settings)


def speed_check(now_ms: float, unit: PhoneUnit, fingerprint: str, settings: MeasurementSettings) -> Check:
    """Return whether the phone is as fast as when it was added: neither slower nor faster.

    Args:
        now_ms: The best time of the reference network now.
        unit: The phone, with the time when it was added.
        fingerprint: What runs on it now.
        settings: The measurement protocol.
    """
    drift = now_ms / unit.reference_ms - 1
    detail = f"reference network {now_ms:.4f} ms, {unit.reference_ms:.4f} ms when it was added ({drift:+.1%})"
    if unit.fingerprint is not None and unit.fingerprint != fingerprint:
        return Check("speed", True, f"{detail}; its system was updated, and the next measurement learns the time again")
    if unit.slow_when_added is not None:
        return Check("speed", False, f"added while slow: {unit.slow_when_added}", "add it again: mnas phones add")
    if drift < -settings.faster_limit:
        remedy = "it was slow when it was added (battery saver, heat, other work), and what it measured then is too "
        return Check("speed", False, detail, f"{remedy}high: add it again with mnas phones add")
    return Check(
        "speed",
        drift <= settings.drift_limit,
        detail,
        "it is slower than it was: let it cool, leave its battery saver, close its apps; if it stays so, add it again",
    )


def _measurement(
    profile: PhoneProfile, unit: PhoneUnit, settings: MeasurementSettings, leases: PhoneLeases
) -> Iterator[Check]:
    phone = AdbPhone(profile, unit, leases=leases)
    try:
        record = phone.measure(calibration_models()[0], settings)
    except LatencyError as error:
        yield Check("measurement", False, str(error), "see the lines above; then check again")
    else:
        detail = f"{record.latency_ms:.4f} ms, windows tried: {record.attempts}, output equals the host's"
        yield Check("measurement", True, detail)
        shares = [share for session in record.sessions if (share := session.window.clock_share) is not None]
        yield Check(
            "clock",
            not shares or min(shares) >= settings.clock_flag,
            f"{min(shares):.0%} of the core's highest while it was timed" if shares else "unreadable",
            "leave the power mode that holds it down, let it cool; if it is meant so, lower clock_flag in the profile",
        )
    finally:
        phone.close()
