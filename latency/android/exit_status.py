"""The exit status of a command of `AdbDevice.shell` that a signal has ended.

`timeout`, which bounds every command on the phone, translates the signal, and toybox's has changed:

| toybox | status of a signal |
|---|---|
| up to 0.8.0 (Android 8 to 9) | 127 + signal |
| 0.8.1 (Android 10) | 137 for SIGKILL, 124 for any other |
| since 0.8.2 | 128 + signal, as GNU's |

These overlap: 136 is a kill on an old phone and a floating-point exception on a new one. So the phone is asked what it
makes of a signal.
"""

from __future__ import annotations

import signal

from latency.adb.device import AdbDevice

ASK_TIMEOUT_S = 20.0
UNKNOWN = 0
"""A signal, but the phone does not tell which."""

_OFFSETS = (127, 128)
_UNTOLD = 124
_END_ITSELF = 'kill -s "$1" $$'


def signal_of(device: AdbDevice, status: int) -> int | None:
    """Return the signal that ended a command with this status; `UNKNOWN` for one that is not told.

    Returns:
        None if the command ended by itself.

    Raises:
        PhoneError: The kinds of the transport.
    """
    if status == _UNTOLD:
        return UNKNOWN if _ask(device, signal.SIGSEGV) == _UNTOLD else None
    if status <= min(_OFFSETS):  # 127: the command was not found.
        return None
    offset = _ask(device, signal.SIGKILL) - signal.SIGKILL
    if offset not in _OFFSETS:
        offset = max(_OFFSETS)
    return status - offset if status > offset else None


def signal_words(number: int) -> str:
    """Return a signal in words, for an error."""
    return "a signal" if number == UNKNOWN else f"signal {number}"


def _ask(device: AdbDevice, number: signal.Signals) -> int:
    name = number.name.removeprefix("SIG")
    return device.shell(["sh", "-c", _END_ITSELF, "mnas", name], timeout_s=ASK_TIMEOUT_S).status
