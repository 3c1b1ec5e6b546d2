"""Whether a phone is fit to measure.

One answer per question, with the remedy for a no.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latency.android.inspection import PhoneFacts
from latency.android.thermal import too_hot
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import PhoneConditions

SUPPORTED_ABIS = ("arm64-v8a", "x86_64")
NEEDED_MB = 60
LOW_BATTERY_PERCENT = 20
_SHOWN_CORES = 16

OnStep = Callable[[str], None]
"""Is told what is done next, before each step that may take long."""


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Attributes:
        name: What is checked.
        passed: The answer.
        detail: What was found.
        remedy: What to do if it is not passed.
    """

    name: str
    passed: bool
    detail: str
    remedy: str = ""


def static_checks(facts: PhoneFacts, folder: str, core: int | None) -> list[Check]:
    """Return what must hold before anything is installed.

    Args:
        facts: What the phone says about itself.
        folder: The folder for the runtime.
        core: The core to time on; None if none is chosen yet.
    """
    frequencies = sorted({khz for khz in facts.max_khz.values() if khz is not None})
    speeds = f", up to {frequencies[-1] / 1e6:.2f} GHz" if frequencies else ", frequencies unreadable"
    return [
        Check(
            "architecture",
            facts.abi in SUPPORTED_ABIS,
            facts.abi,
            f"there is a runtime for {' and '.join(SUPPORTED_ABIS)}; give a benchmark program of your own",
        ),
        Check(
            "tools",
            not facts.missing_tools,
            ", ".join(facts.missing_tools) + " missing" if facts.missing_tools else "all there",
            "Android 8 and newer have them; a phone without them cannot be used",
        ),
        folder_check(facts, folder),
        Check(
            "free space",
            facts.free_mb is None or facts.free_mb >= NEEDED_MB,
            "unreadable" if facts.free_mb is None else f"{facts.free_mb} MB",
            f"make room: {NEEDED_MB} MB are needed in {folder}",
        ),
        Check(
            "cores",
            core is None or core in facts.max_khz,
            f"{facts.cores} usable{speeds}{hidden_cores(facts)}; timed: {facts.big_core if core is None else core}",
            f"choose one of {sorted(facts.max_khz)} as `core`; a phone that sleeps hides cores, so wake it first",
        ),
    ]


def folder_check(facts: PhoneFacts, folder: str) -> Check:
    """Return whether the runtime can be put into the folder and run there."""
    if facts.folder_writable and not facts.folder_runnable:
        detail = f"{folder} runs no programs (mounted noexec, or closed to the adb shell)"
    else:
        detail = folder if facts.folder_writable else f"{folder} cannot be written to"
    return Check(
        "folder",
        facts.folder_writable and facts.folder_runnable,
        detail,
        "name one that the adb shell may write to and run programs from: mnas phones add --folder",
    )


def big_core_check(facts: PhoneFacts) -> Check:
    """Return whether the fastest core is among those that can be used now."""
    cores = ", ".join(map(str, facts.hidden_big_cores))
    return Check(
        "fastest core",
        not facts.hidden_big_cores,
        f"core {cores} may be faster and cannot be used" if cores else f"core {facts.big_core}",
        "it is switched off, or kept from the adb shell: keep the phone awake (adb shell svc power stayon true), leave "
        "its battery saver, and add it again; or choose a core yourself: --core",
    )


def hidden_cores(facts: PhoneFacts) -> str:
    """Return the cores that are there and cannot be used, in words that go on; nothing if there are none."""
    cores = ", ".join(map(str, sorted(facts.hidden_khz)[:_SHOWN_CORES]))
    return f", {cores} are switched off or kept from the adb shell" if cores else ""


def condition_checks(state: PhoneConditions, settings: MeasurementSettings) -> list[Check]:
    """Return what must hold when a measurement begins.

    What cannot be read passes and says so.
    """
    hot = too_hot(state, settings)
    percent = state.battery_percent
    low = percent is not None and percent < LOW_BATTERY_PERCENT and not state.charging
    status = "unreadable" if state.thermal_status is None else str(state.thermal_status)
    warmth = "unreadable" if state.battery_temperature_c is None else f"{state.battery_temperature_c:g} °C"
    charge = "unreadable" if percent is None else f"{percent}%{', charging' if state.charging else ''}"
    return [
        Check(
            "temperature",
            hot is None,
            hot or f"thermal status {status}, battery {warmth}",
            "let it cool: out of its case, off the fast charger, screen off",
        ),
        Check("battery", not low, charge, "connect a charger: phones slow down when their battery runs low"),
        Check(
            "battery saver",
            not state.battery_saver,
            {None: "unreadable", False: "off", True: "on, which lowers the clocks"}[state.battery_saver],
            "switch it off: Settings, Battery, or adb shell settings put global low_power 0",
        ),
    ]
