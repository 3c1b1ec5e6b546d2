"""Add a phone: all steps from a cable to a profile.

Each step says what it does before it does it, so that a waiting user knows what is going on. Each failure says what to
do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

from latency.adb.address import Address
from latency.adb.connect import connect
from latency.adb.device import AdbDevice
from latency.android.inspection import QUESTION_TIMEOUT_S, PhoneFacts, inspect
from latency.android.phone import AdbPhone, SessionRunner, install_runner
from latency.android.preflight import (
    OnStep,
    big_core_check,
    condition_checks,
    folder_check,
    hidden_cores,
    static_checks,
)
from latency.android.profile import DEFAULT_FOLDER, PhoneProfile, PhoneUnit, profile_path, read_profile, write_profile
from latency.android.runner_session import PhoneRunner
from latency.android.thermal import too_hot, wait_until_cool
from latency.errors import LatencyError, PhoneError, PhoneUnstableError, ProfileError
from latency.leases.adb_phone import hold_adb_phone
from latency.leases.between_processes import PhoneLeases, user_leases
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, PhoneConditions
from latency.measurement.reference_network import CALIBRATION_SIZES, calibration_models

CALIBRATION_SESSIONS = 5
ADD_LEASE_S = 900.0
# A phone that was slow when its best time was found is noticed when it is timed, and tried again so often.
SPEED_TRIES = 3
UNSTEADY_TRIES = 4
COOLDOWN_S = 20.0
RUNTIMES = ("bionic", "glibc")
# Both belong to Android's adb shell and run programs; the second is there since Android 13.
FOLDERS = (DEFAULT_FOLDER, "/data/local/tests/mnas")
WAKE_TRIES = 3
# What lets another runtime be tried: this one cannot be fetched, does not start, or crashes.
RUNTIME_FAULTS = ("runtime_unavailable", "runner_protocol", "runner_died")
# Key 224 wakes and never puts to sleep.
_WAKE = "input keyevent 224 >/dev/null 2>&1; sleep 1; exit 0"
# Units of one model may differ in speed, by chance of manufacture, but then by the same factor on every network.
SCALE_SPREAD_LIMIT = 0.05


@dataclass(frozen=True)
class AddedPhone:
    """A phone that was added.

    Attributes:
        profile: Its profile, as it was written.
        unit: The unit that was added or renewed.
        repeatability: Largest difference between sessions of one network, as a share of its latency.
    """

    profile: PhoneProfile
    unit: PhoneUnit
    repeatability: float


def add_phone(
    name: str,
    address: Address,
    *,
    folder: str | None = None,
    core: int | None = None,
    runtime: str | None = None,
    measurement: Mapping[str, int | float] | None = None,
    on_step: OnStep = lambda text: None,
    leases: PhoneLeases | None = None,
) -> AddedPhone:
    """Add a phone under `name`, or one more unit to the phone of that name.

    The profile is written at the very end: a failure before leaves no half of one.

    Args:
        name: What to call the phone.
        address: How it is reached.
        folder: Where on the phone the runtime goes; as in the profile, or the first of `FOLDERS` that can be used, if
            None.
        core: The core to time on; the fastest if None.
        runtime: `bionic`, `glibc`, or the file of an official Android build of ONNX Runtime (AAR). If None: as in the
            profile, or the first of `bionic` and `glibc` that works on the phone.
        measurement: Changes to its measurement protocol.
        on_step: Called with what is done next.
        leases: The leases between processes; those of this user if None. A measurement of another process ends first.

    Raises:
        PhoneError: The message says what to do. `phone_saving`, `phone_hot`, `phone_slow`: its state would distort its
            best times.
        ToolError: `runtime_unavailable`: the runtime cannot be had.
    """
    known = read_profile(name) if profile_path(name).exists() else None
    leases = leases or user_leases()
    on_step(f"connecting to {address}; if the phone asks, accept this computer's key")
    with connect(address) as device:
        on_step("asking what it is")
        folder = folder or (known.folder if known else None)
        folder, facts = _look(device, folder, on_step)
        if core is None and known is None:
            facts = _awake(device, folder, facts, on_step)
    profile = _profile(name, address, facts, known, folder=folder, core=core, runtime=runtime)
    profile = _with_measurement(profile, measurement or {})
    for check in static_checks(facts, folder, profile.core):
        if not check.passed:
            raise PhoneError("phone_unsupported", f"{address}: {check.name}: {check.detail}; {check.remedy}")
    runtimes = ["bionic", "glibc"] if runtime is None and known is None and facts.has_bionic else [profile.runtime]
    serial = _serial(facts, address)
    place = [unit.serial for unit in profile.units].index(serial)
    settings = profile.settings({})

    def find_best() -> tuple[PhoneProfile, PhoneUnit]:
        """Install the runtime, and time the reference network on a phone that nobody else uses."""
        with hold_adb_phone(leases, serial, lambda: connect(address), folder, ADD_LEASE_S) as (device, renew):
            on_step("looking at its temperature, battery and power mode")
            state = wait_until_cool(device, settings, lambda: renew(ADD_LEASE_S))
            _require_undistorted(address, state, settings)
            chosen, runner = _install(device, profile, runtimes, on_step)
            unit = msgspec.structs.replace(chosen.units[place], fingerprint=facts.fingerprint, conditions=state)
            if isinstance(runner, PhoneRunner):
                on_step("finding the best time of the reference network")
                unit = msgspec.structs.replace(unit, reference_ms=runner.best_of_reference(settings))
            return chosen, unit

    for tries_left in reversed(range(SPEED_TRIES)):
        profile, unit = find_best()
        runtimes = [profile.runtime]
        on_step(f"timing {len(CALIBRATION_SIZES)} networks in {CALIBRATION_SESSIONS} sessions each, outputs compared")
        try:
            calibration_ms, repeatability = _calibrate(profile, unit, leases)
            break
        except PhoneError as error:
            if error.kind != "phone_slow_when_added" or not tries_left:
                raise
            on_step("it has become faster meanwhile; once more from its best time")
    unit = msgspec.structs.replace(unit, calibration_ms=calibration_ms)
    units = [*profile.units[:place], unit, *profile.units[place + 1 :]]
    # All of them: the first unit may be the one that was renewed.
    scales = [1.0, *(scale_to(units[0], each.calibration_ms, settings.scale_limit) for each in units[1:])]
    units = [msgspec.structs.replace(each, scale=scale) for each, scale in zip(units, scales, strict=True)]
    profile = msgspec.structs.replace(profile, units=tuple(units))
    write_profile(profile)
    return AddedPhone(profile, units[place], repeatability)


def _install(
    device: AdbDevice, profile: PhoneProfile, runtimes: Sequence[str], on_step: OnStep
) -> tuple[PhoneProfile, SessionRunner]:
    """Install the first of the runtimes that works on the phone, and try it out.

    Returns:
        The profile with that runtime, and its runner.

    Raises:
        LatencyError: What is wrong with the last one; the kinds of the transport.
    """
    for runtime in runtimes:
        chosen = msgspec.structs.replace(profile, runtime=runtime)
        on_step(f"installing the {runtime} runtime for {profile.abi} (fetched once)")
        try:
            runner = install_runner(device, chosen, lambda file: on_step(f"pushing {file}"))
            if isinstance(runner, PhoneRunner):
                runner.try_out(chosen.settings({}))
            return chosen, runner
        except LatencyError as error:
            if runtime == runtimes[-1] or error.kind not in RUNTIME_FAULTS:
                raise
            on_step(f"the {runtime} runtime cannot be used: {error}")
    raise ValueError("no runtimes to install")


def _look(device: AdbDevice, folder: str | None, on_step: OnStep) -> tuple[str, PhoneFacts]:
    """Return a folder for the runtime that can be used, and the phone's facts.

    Args:
        device: The connected phone.
        folder: The folder to use; the first of `FOLDERS` that runs programs if None.
        on_step: Is told of a folder that cannot be used.

    Raises:
        PhoneError: `phone_unsupported`: no folder can be used. The kinds of the transport.
    """
    reasons = []
    for candidate in FOLDERS if folder is None else (folder,):
        facts = inspect(device, candidate)
        check = folder_check(facts, candidate)
        if check.passed:
            return candidate, facts
        reasons.append(check.detail)
        on_step(check.detail)
    raise PhoneError("phone_unsupported", f"{device.serial}: {'; '.join(reasons)}; {check.remedy}")


def _awake(device: AdbDevice, folder: str, facts: PhoneFacts, on_step: OnStep) -> PhoneFacts:
    """Return the facts of a phone whose fastest core can be used; wake it if that core cannot.

    Raises:
        PhoneError: `core_unavailable`: it cannot be used, and the user has not named another. The kinds of the
            transport.
    """
    if facts.is_this_machine:
        return facts
    for _ in range(WAKE_TRIES):
        if not facts.hidden_big_cores:
            break
        on_step(f"waking it: {big_core_check(facts).detail}")
        device.shell(["sh", "-c", _WAKE], timeout_s=QUESTION_TIMEOUT_S)
        facts = inspect(device, folder)
    check = big_core_check(facts)
    if not check.passed:
        raise PhoneError("core_unavailable", f"{device.serial}: {check.name}: {check.detail}; {check.remedy}")
    if facts.hidden_khz:
        on_step(f"of its cores{hidden_cores(facts)}")
    return facts


def _require_undistorted(address: Address, state: PhoneConditions, settings: MeasurementSettings) -> None:
    for check in condition_checks(state, settings):
        if not check.passed:
            kind = "phone_saving" if state.battery_saver else "phone_hot" if too_hot(state, settings) else "phone_slow"
            raise PhoneError(
                kind,
                f"{address}: {check.name}: {check.detail}; its best times cannot be found like this. "
                f"{check.remedy[0].upper()}{check.remedy[1:]}; then add it again",
            )


def scale_to(first: PhoneUnit, calibration_ms: Sequence[float], limit: float) -> float:
    """Return the factor from a unit's latencies to those of the first unit.

    Args:
        first: The first unit.
        calibration_ms: The latencies of the calibration networks on the other unit, in ms.
        limit: The largest difference of the factor from 1.

    Raises:
        PhoneError: `phone_differs`: one factor does not explain the difference, so they are not one model; or the
            factor is so large that one of them was slow when it was added.
    """
    if len(first.calibration_ms) != len(calibration_ms):
        raise PhoneError(
            "phone_differs",
            f"unit {first.serial} was calibrated by another version of mnas; add it again, then this one",
        )
    ratios = [theirs / ours for theirs, ours in zip(first.calibration_ms, calibration_ms, strict=True)]
    if (spread := max(ratios) / min(ratios) - 1) > SCALE_SPREAD_LIMIT:
        shown = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        raise PhoneError(
            "phone_differs",
            f"this phone is not of one model with {first.serial}: their latencies have the ratios {shown}, which "
            f"differ by {spread:.0%} (allowed {SCALE_SPREAD_LIMIT:.0%}); add it under a name of its own",
        )
    scale = median(ratios)
    if not 1 - limit <= scale <= 1 + limit:
        slow = f"this phone is {1 / scale:.2f} times as slow as {first.serial}"
        if scale > 1:
            slow = f"{first.serial} was {scale:.2f} times as slow as this phone when it was added"
        raise PhoneError(
            "phone_differs",
            f"{slow}; equal phones differ by {limit:.0%} at most (scale_limit). One of them was slow when it was added "
            "(battery saver, heat, other work): let it cool, and add it again; or give this one a name of its own",
        )
    return scale


def _profile(
    name: str,
    address: Address,
    facts: PhoneFacts,
    known: PhoneProfile | None,
    *,
    folder: str,
    core: int | None,
    runtime: str | None,
) -> PhoneProfile:
    """Return the profile to write; the times of the unit are not yet known (1 ms).

    A unit that is renewed keeps its place, a new one comes last.
    """
    asked_runtime: dict[str, str | None] = {}
    if runtime is not None:
        by_name = runtime in RUNTIMES
        asked_runtime = {"runtime": runtime if by_name else "bionic", "aar": None if by_name else runtime}
    serial = _serial(facts, address)
    unit = PhoneUnit(serial=serial, address=str(address), reference_ms=1.0, calibration_ms=(1.0,))
    others = () if known is None else tuple(each for each in known.units if each.serial != serial)
    units: tuple[PhoneUnit, ...] = (unit,)
    if known is not None:
        renewed = [unit if each.serial == serial else each for each in known.units]
        units = tuple(renewed if len(others) < len(known.units) else [*renewed, unit])
    if known is None:
        profile = PhoneProfile(
            name=name,
            model=facts.model,
            abi=facts.abi,
            android=facts.android,
            core=facts.big_core if core is None else core,
            folder=folder,
            shares_this_machine=facts.is_this_machine,
            measurement={} if facts.is_this_machine else {"cooldown_s": COOLDOWN_S},
            units=units,
        )
        return msgspec.structs.replace(profile, **asked_runtime)
    if others and (facts.model, facts.abi) != (known.model, known.abi):
        raise PhoneError(
            "phone_differs",
            f"phone {name!r} is a {known.model} ({known.abi}), this one is a {facts.model} ({facts.abi}); add it "
            "under a name of its own",
        )
    asked = {"folder": folder, "core": known.core if core is None else core, **asked_runtime}
    changed = [key for key, value in asked.items() if value != getattr(known, key)]
    if others and changed:
        raise PhoneError(
            "phone_differs",
            f"phone {name!r} has further units, for which `{changed[0]}` holds too; change it in "
            f"{profile_path(name)} and add each of them again",
        )
    return msgspec.structs.replace(known, **asked, units=units)


def _serial(facts: PhoneFacts, address: Address) -> str:
    """Return the name by which a unit is told from all others."""
    if facts.serial is not None and address.is_place:  # Its serial number does not tell it from another phone.
        return f"{facts.serial}@{address.target}"
    return facts.serial or address.target


def _with_measurement(profile: PhoneProfile, changes: Mapping[str, int | float]) -> PhoneProfile:
    try:
        return msgspec.structs.replace(profile, measurement={**profile.measurement, **changes})
    except ValueError as error:
        raise ProfileError(f"phone {profile.name!r}: {error}") from error


def _calibrate(profile: PhoneProfile, unit: PhoneUnit, leases: PhoneLeases) -> tuple[tuple[float, ...], float]:
    """Time the calibration networks.

    Returns:
        Their latencies in ms, and the largest spread between sessions.
    """
    settings = profile.settings({"sessions": CALIBRATION_SESSIONS})
    phone = AdbPhone(profile, unit, leases=leases)
    try:
        records = [_measure_patiently(phone, model, settings) for model in calibration_models()]
    finally:
        phone.close()
    spreads = [max(record.session_latencies_ms) / min(record.session_latencies_ms) - 1 for record in records]
    return tuple(record.latency_ms for record in records), max(spreads)


def _measure_patiently(phone: AdbPhone, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
    """Measure, with some more tries for an unsteady phone.

    It has just been plugged in and pushed to.
    """
    for _ in range(UNSTEADY_TRIES - 1):
        try:
            return phone.measure(model, settings)
        except PhoneUnstableError:
            continue
    return phone.measure(model, settings)
