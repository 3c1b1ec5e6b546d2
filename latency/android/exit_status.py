"""The exit status of a command of `AdbDevice.shell` that a signal has ended.

`timeout`, which bounds every command on the phone, gives 128 + signal; toybox up to 0.8.1 (Android 8 to 10) gives
127 + signal. The two overlap: 136 is a kill on an old phone and a floating-point exception on a new one. So the phone
is asked what it makes of a kill.
"""

from __future__ import annotations

import signal

from latency.adb.device import AdbDevice

ASK_TIMEOUT_S = 20.0
_KILL_ITSELF = "kill -KILL $$"
_OFFSETS = (127, 128)


def signal_of(device: AdbDevice, status: int) -> int | None:
    """Return the signal that ended a command with this status; None if it ended by itself.

    Raises:
        PhoneError: The kinds of the transport.
    """
    if status <= min(_OFFSETS):  # 127: the command was not found.
        return None
    offset = device.shell(["sh", "-c", _KILL_ITSELF], timeout_s=ASK_TIMEOUT_S).status - signal.SIGKILL
    if offset not in _OFFSETS:
        offset = max(_OFFSETS)
    return status - offset if status > offset else None
