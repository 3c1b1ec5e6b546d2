"""A loopback phone for tests and benchmarks: its profile without `mnas phones add`, and its runners."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

from latency.adb import Address
from latency.android.profile import BenchmarkProgram, PhoneProfile, PhoneUnit
from latency.loopback.adbd import Adbd


def phone_profile(
    adbd: Adbd,
    *,
    name: str = "loopback",
    address: Address | None = None,
    reference_ms: float = 1000.0,
    benchmark: BenchmarkProgram | None = None,
) -> tuple[PhoneProfile, PhoneUnit]:
    """Return a profile of a daemon, and its only unit.

    Args:
        adbd: The daemon.
        name: The name of the phone.
        address: Where the daemon is reached, if not at its own address (through a proxy).
        reference_ms: The best time of the reference network. The default is never reached, so that no window is
            rejected for a slow reference.
        benchmark: The user's own benchmark program, if the profile has one.
    """
    unit = PhoneUnit(
        serial=adbd.address.target,
        address=str(address or adbd.address),
        reference_ms=reference_ms,
        calibration_ms=(1.0, 1.0, 1.0),
    )
    profile = PhoneProfile(
        name=name,
        model="adbd",
        abi="x86_64",
        core=max(os.sched_getaffinity(0)),
        folder=str(adbd.folder / "mnas"),
        shares_this_machine=True,
        units=(unit,),
        # A reference that is never reached is not that of a phone that was slow when it was added.
        measurement={"faster_limit": 1.0},
        benchmark=benchmark,
    )
    return profile, unit


def runners(folder: Path) -> Iterator[psutil.Process]:
    """Yield the runners that work in the folder of a daemon."""
    for process in psutil.process_iter():
        try:
            # Not the shell and `timeout` around them: their command lines name the runner, too.
            if process.cwd().startswith(str(folder)) and process.cmdline()[0].startswith("./ld-linux"):
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied, IndexError):
            continue


def signal_runners(folder: Path, number: signal.Signals) -> None:
    """Send a signal to every runner that works in the folder of a daemon."""
    for process in runners(folder):
        process.send_signal(number)
