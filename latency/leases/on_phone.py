"""A lease on the phone itself.

It is for phones that several programs or several hosts can reach.

The file `lease` in the phone's folder names its owner, the phone's uptime at which it ends, and the phone's boot. A
process holds the lease while it measures, and renews it. Uptime is the phone's own clock, which nobody sets; a lease of
an earlier boot is void, and so is one that would last longer than any lease may. Check and write happen under the
phone's `flock`: of two processes that come at once, one gets the lease.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

from latency.adb.device import AdbDevice
from latency.errors import PhoneError
from latency.host.pause_guard import start_ticks
from latency.leases.between_processes import process_place, process_runs

LEASE_TIMEOUT_S = 20.0
MAX_LEASE_S = 3600
"""The longest lease, if it is not renewed. One that claims more is void: a phone is never held for days."""
_POLL_S = 0.2
FRESH_S = 5.0
"""A lease that is younger is not renewed, which takes an exchange with the phone. It lasts for so much longer."""
# A turn that comes sooner is not worth a word.
_SILENCE_S = 2.0

_LOG = logging.getLogger(__name__)

Renew = Callable[[float], None]
"""Makes the lease last so many seconds from now."""

# $1 folder, $2 owner, $3 seconds, $4 an owner that is dead, $5 the longest lease in seconds. Prints the owner and the
# seconds that are left to it; that is us, or somebody else.
_TAKE = r"""
cd "$1" 2>/dev/null || { mkdir -p "$1" && cd "$1"; } || exit 1
(
    flock 9 2>/dev/null
    read -r now _ < /proc/uptime
    now=${now%%.*}
    owner= until=0 booted=
    [ -f lease ] && read -r owner until booted < lease
    read -r boot < /proc/sys/kernel/random/boot_id || boot=-
    case "$until" in ''|*[!0-9]*) until=0 ;; esac
    left=$((until - now))
    [ -z "$booted" ] || [ "$booted" = "$boot" ] || left=0
    [ "$left" -le "$5" ] || left=0
    if [ -n "$owner" ] && [ "$owner" != "$2" ] && [ "$owner" != "$4" ] && [ "$left" -gt 0 ]; then
        echo "$owner $left"
    else
        echo "$2 $((now + $3)) $boot" > lease && echo "$2 $3"
    fi
) 9> lease.lock
"""
# Only the owner's own lease is given back. Models are needed by nobody who does not hold the lease: they go with it.
_RETURN = """
cd "$1" && [ -f lease ] && read -r owner until booted < lease && [ "$owner" = "$2" ] &&
    rm -f model-*.onnx model-*.part lease
exit 0
"""


def own_name() -> str:
    """Return the owner's name of this process: host, process, its start, and the place in which these are valid.

    Two containers may have the same host name and the same process ids. Their places differ.
    """
    return f"{quote(platform.node(), safe='')}/{os.getpid()}/{start_ticks(os.getpid())}/{_place_hash()}"


def _place_hash() -> str:
    return hashlib.sha256(process_place().encode()).hexdigest()[:16]


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


@contextmanager
def leased(
    device: AdbDevice,
    folder: str,
    *,
    duration_s: float,
    wait_s: float,
    pause: Callable[[float], bool] = _sleep,
) -> Iterator[Renew]:
    """Hold the phone for the length of the block; at its end, remove the models that were pushed in it.

    A lease outlives a process that is killed. One of this host whose process is gone is taken over at once, any other
    when it ends.

    Args:
        device: The connected phone.
        folder: The folder of the lease on the phone.
        duration_s: How long the lease lasts unless it is renewed.
        wait_s: How long to wait for another owner.
        pause: Sleeps for so many seconds; returns whether to stop waiting.

    Yields:
        What renews the lease; it raises PhoneError as this does.

    Raises:
        PhoneError: `phone_busy`: another owner has the phone. `phone_unsupported`: the lease cannot be written. The
            kinds of the transport.
    """
    owner = own_name()
    started = time.monotonic()
    deadline = started + wait_s
    dead = "-"
    said = False
    while True:
        holder, left_s = _take(device, folder, owner, duration_s, dead)
        if holder == owner:
            break
        if _is_dead(holder):
            dead = holder
        elif time.monotonic() >= deadline or pause(_POLL_S):
            raise _busy(device, folder, holder, left_s)
        elif not said and time.monotonic() - started > _SILENCE_S:
            said = True
            _LOG.info("%s: %s measures on this phone; waiting up to %g s for a turn", device.serial, holder, wait_s)

    renewed_s = _clock_s()

    def renew(duration_s: float) -> None:
        nonlocal renewed_s
        if _clock_s() - renewed_s < FRESH_S:
            return
        holder, left_s = _take(device, folder, owner, duration_s, "-")
        if holder != owner:
            raise _busy(device, folder, holder, left_s)
        renewed_s = _clock_s()

    try:
        yield renew
    finally:
        if not device.closed:
            device.shell(["sh", "-c", _RETURN, "mnas", folder, owner], timeout_s=LEASE_TIMEOUT_S)


def _clock_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # It counts the time for which this computer sleeps, too.


def _take(device: AdbDevice, folder: str, owner: str, duration_s: float, dead: str) -> tuple[str, str]:
    arguments = [folder, owner, str(min(int(duration_s + FRESH_S) + 1, MAX_LEASE_S)), dead, str(MAX_LEASE_S)]
    answer = device.shell(["sh", "-c", _TAKE, "mnas", *arguments], timeout_s=LEASE_TIMEOUT_S)
    words = answer.stdout.split()
    if len(words) != 2:
        raise PhoneError(
            "phone_unsupported",
            f"{device.serial}: cannot write a lease into {folder}: {answer.stderr.strip() or answer.stdout!r}",
        )
    return words[0], words[1]


def _busy(device: AdbDevice, folder: str, holder: str, left_s: str) -> PhoneError:
    return PhoneError(
        "phone_busy",
        f"{device.serial}: {holder} (host/process/start/place) measures on this phone, and has it for {left_s} s more "
        f"unless it ends earlier; wait for it, or stop it. If that process is gone, free the phone: adb shell rm "
        f"{folder}/lease",
    )


def _is_dead(owner: str) -> bool:
    """Return whether the owner was a process of this host that is gone."""
    parts = owner.split("/")
    if len(parts) != 4 or parts[3] != _place_hash():
        return False  # From elsewhere, or written by an older mnas: it cannot be seen, and ends by itself.
    _, pid, start, _ = parts
    return pid.isdecimal() and start.isdecimal() and not process_runs(int(pid), int(start))
