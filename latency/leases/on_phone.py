"""A lease on the phone itself.

It is for phones that several programs or several hosts can reach.

The file `lease` in the phone's folder names its owner and the phone's uptime at which it ends. A process holds the
lease while it measures, and renews it. Uptime is the phone's own clock, which nobody sets. Check and write happen under
the phone's `flock`: of two processes that come at once, one gets the lease.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from latency.adb.device import AdbDevice
from latency.errors import PhoneError
from latency.host.pause_guard import start_ticks
from latency.leases.between_processes import process_runs

LEASE_TIMEOUT_S = 20.0
_POLL_S = 0.2
# A turn that comes sooner is not worth a word.
_SILENCE_S = 2.0

_LOG = logging.getLogger(__name__)

Renew = Callable[[float], None]
"""Makes the lease last so many seconds from now."""

# $1 folder, $2 owner, $3 seconds. Prints the owner and the seconds that are left to it; that is us, or somebody else.
_TAKE = r"""
cd "$1" || exit 1
(
    flock 9 2>/dev/null
    read -r now _ < /proc/uptime
    now=${now%%.*}
    owner= until=0
    [ -f lease ] && read -r owner until < lease
    if [ -n "$owner" ] && [ "$owner" != "$2" ] && [ "$owner" != "$4" ] && [ "${until:-0}" -gt "$now" ]; then
        echo "$owner $((until - now))"
    else
        echo "$2 $((now + $3))" > lease && echo "$2 $3"
    fi
) 9> lease.lock
"""
# Only the owner's own lease is given back.
_RETURN = 'cd "$1" && [ -f lease ] && read -r owner until < lease && [ "$owner" = "$2" ] && rm -f lease; exit 0'


def own_name() -> str:
    """Return the owner's name of this process: host, process and its start."""
    return f"{platform.node()}/{os.getpid()}/{start_ticks(os.getpid())}"


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
    """Hold the phone for the length of the block.

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
            raise _busy(device, holder, left_s)
        elif not said and time.monotonic() - started > _SILENCE_S:
            said = True
            _LOG.info("%s: %s measures on this phone; waiting up to %g s for a turn", device.serial, holder, wait_s)

    def renew(duration_s: float) -> None:
        holder, left_s = _take(device, folder, owner, duration_s, "-")
        if holder != owner:
            raise _busy(device, holder, left_s)

    try:
        yield renew
    finally:
        if not device.closed:
            device.shell(["sh", "-c", _RETURN, "mnas", folder, owner], timeout_s=LEASE_TIMEOUT_S)


def _take(device: AdbDevice, folder: str, owner: str, duration_s: float, dead: str) -> tuple[str, str]:
    arguments = [folder, owner, str(int(duration_s) + 1), dead]
    answer = device.shell(["sh", "-c", _TAKE, "mnas", *arguments], timeout_s=LEASE_TIMEOUT_S)
    words = answer.stdout.split()
    if len(words) != 2:
        raise PhoneError(
            "phone_unsupported",
            f"{device.serial}: cannot write a lease into {folder}: {answer.stderr.strip() or answer.stdout!r}",
        )
    return words[0], words[1]


def _busy(device: AdbDevice, holder: str, left_s: str) -> PhoneError:
    return PhoneError(
        "phone_busy",
        f"{device.serial}: {holder} (host/process/start) measures on this phone, for {left_s} s at least; wait for it, "
        "or stop it",
    )


def _is_dead(owner: str) -> bool:
    """Return whether the owner was a process of this host that is gone."""
    host, _, process = owner.partition("/")
    pid, _, start = process.partition("/")
    return host == platform.node() and pid.isdigit() and start.isdigit() and not process_runs(int(pid), int(start))
