"""A device whose shell is this machine's: the scripts run for real, without an adb daemon."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import cast

from latency.adb import AdbDevice, ShellResult


class _LocalDevice:
    serial = "usb:1A2B"
    closed = False

    def __init__(self, instead: Callable[[Sequence[str]], ShellResult | None]) -> None:
        self._instead = instead
        self.asked: list[Sequence[str]] = []

    def shell(self, argv: Sequence[str], timeout_s: float) -> ShellResult:
        self.asked.append(argv)
        if (result := self._instead(argv)) is not None:
            return result
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
        return ShellResult(done.stdout, done.stderr, 128 - done.returncode if done.returncode < 0 else done.returncode)


def local_device(instead: Callable[[Sequence[str]], ShellResult | None] = lambda argv: None) -> AdbDevice:
    """Return the device; `instead` may answer a command itself."""
    return cast(AdbDevice, _LocalDevice(instead))
