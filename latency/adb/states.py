"""What an adb server says about a phone that it cannot use, and the remedy for each state."""

from __future__ import annotations

from typing import Literal

from latency.errors import LatencyError, PhoneError, PhoneGoneError, ToolError

AttachedState = Literal[
    "ready", "unauthorized", "offline", "no_permission", "busy", "unreachable", "recovery", "sideload", "bootloader"
]

READY = "device"
"""The server's word for a phone that can be used."""

_BOOT = "boot Android on it: choose 'Reboot system now' on its screen, or adb reboot"
# The server's word: our state, the kind of the error, the remedy.
_STATES: dict[str, tuple[AttachedState, str, str]] = {
    "unauthorized": ("unauthorized", "phone_unauthorized", "unlock the phone and accept the prompt"),
    "authorizing": ("unauthorized", "phone_unauthorized", "unlock the phone and accept the prompt"),
    "offline": ("offline", "phone_offline", "plug it in again, or try adb reconnect offline"),
    "connecting": ("offline", "phone_offline", "wait a moment; then plug it in again, or try adb reconnect offline"),
    "detached": ("busy", "phone_busy", "another program has taken it from the adb server: end it, or adb attach"),
    "no permissions": (
        "no_permission",
        "phone_no_permission",
        "add a udev rule for it (Debian: android-sdk-platform-tools-common), join the group plugdev, restart the adb "
        "server",
    ),
    "recovery": ("recovery", "phone_mode", _BOOT),
    "rescue": ("recovery", "phone_mode", _BOOT),
    "sideload": ("sideload", "phone_mode", "end the update on it, then adb reboot"),
    "bootloader": ("bootloader", "phone_mode", "boot Android on it: fastboot reboot, or its power key"),
    "host": ("unreachable", "phone_mode", "it is a computer, not a phone: adb cannot run a shell on it"),
}
STATE_WORDS = (READY, *_STATES, "unknown")
"""All words of the server for the state of a phone."""

# What the text of a refusal has, and the state that it means.
_REASONS = (
    ("unauthorized", "unauthorized"),
    ("authorizing", "authorizing"),
    ("permissions", "no permissions"),
    ("offline", "offline"),
    ("connecting", "connecting"),
)


def state_and_remedy(word: str) -> tuple[AttachedState, str]:
    """Return our state for the server's word, and one line with what is wrong and what helps."""
    if word not in _STATES:
        return "unreachable", f"the adb server says {word!r}; plug it in again, or restart the adb server"
    state, _, remedy = _STATES[word]
    return state, f"the adb server says {word!r}: {remedy}"


def state_error(name: str, word: str) -> PhoneError:
    """Return the error for a phone that the server lists in a state other than `device`."""
    kind = _STATES[word][1] if word in _STATES else "phone_gone"
    return PhoneError(kind, f"{name}: {state_and_remedy(word)[1]}")


def refusal(name: str, reason: str) -> LatencyError:
    """Return the error for the server's reason not to pass on a request."""
    first_line = reason.partition("\n")[0][:300]
    for part, word in _REASONS:
        if part in reason:
            _, kind, remedy = _STATES[word]
            return PhoneError(kind, f"{name}: {first_line}; {remedy}")
    if "more than one" in reason:
        return PhoneError("phone_gone", f"{name}: {first_line}; `mnas phones list` shows an address for each of them")
    if "not found" in reason or "closed" in reason:
        remedy = "is it attached, and Android 7 or newer? adb devices shows what the server has"
        return PhoneGoneError(f"{name}: the adb server says: {first_line}; {remedy}")
    return ToolError("adb_protocol", f"{name}: the adb server says: {first_line}")
