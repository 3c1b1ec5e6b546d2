"""Phones for the tests: adbd on this machine, with a profile that says so."""

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
    """A profile of that daemon, and its only device; the reference is never slower than the default one."""
    device = PhoneUnit(
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
        units=(device,),
        benchmark=benchmark,
    )
    return profile, device


def runners(folder: Path) -> Iterator[psutil.Process]:
    """The runners that work in the folder of a daemon."""
    for process in psutil.process_iter():
        try:
            # Not the shell and `timeout` around them, whose command lines name the runner too.
            if process.cwd().startswith(str(folder)) and process.cmdline()[0].startswith("./ld-linux"):
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied, IndexError):
            continue


def signal_runners(folder: Path, number: signal.Signals) -> None:
    for process in runners(folder):
        process.send_signal(number)
