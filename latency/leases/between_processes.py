"""Leases between all processes of a machine that share phones.

They allow one measurement at a time on a phone.

Every phone has a small file, named by its serial, with a queue of claims. The first claim has the phone; the others
wait for their turn. A claim ends when it is given back, when its process is gone (also if it was killed), or when it
was not renewed in time (its process is stopped). A process that lost its claim that way learns it at the end of its
measurement, which then does not count. The file is locked (flock) only while it is read and written.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote

from latency.errors import PhoneError, ToolError
from latency.host.pause_guard import process_stat, start_ticks
from latency.user_folders import state_folder
from mnas.documents.file_systems import file_system_of, lacks_locks

_POLL_S = 0.05
# A turn that comes sooner is not worth a word.
_SILENCE_S = 2.0

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Claim:
    """One process's place in the queue for a phone."""

    token: str
    pid: int
    started: int
    """Start of the process in clock ticks: tells it from a later process with the same id."""
    place: str
    """Boot and process namespace in which that process id is valid."""
    command: str
    expires_at_s: float
    """Seconds since the epoch."""

    def alive(self) -> bool:
        if self.expires_at_s < time.time():
            return False
        # From another container or boot the process cannot be seen; its claim will expire.
        return self.place != process_place() or process_runs(self.pid, self.started)


def process_runs(pid: int, started: int) -> bool:
    """Return whether the process of that id and start (clock ticks) exists."""
    fields = process_stat(f"/proc/{pid}/stat")
    # A dead process is still listed until its parent has asked how it ended.
    return fields is not None and fields[0] not in ("Z", "X") and int(fields[19]) == started


def process_place() -> str:
    """Return the boot and the process namespace in which process ids are valid here."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


class PhoneLeases:
    """The leases of one folder; all processes that share phones must use the same one.

    Safe to share between threads.

    Args:
        folder: The folder; it is made.
        expiry_s: A claim that is not renewed for so long is lost: its process is stopped.
        wait_s: How long to wait for a turn.

    Raises:
        ToolError: `lease_unusable`: the folder cannot be made.
        ValueError: A time is not positive.
    """

    def __init__(self, folder: Path, expiry_s: float = 30.0, wait_s: float = 60.0) -> None:
        if not (expiry_s > 0 and wait_s > 0):
            raise ValueError(f"expiry_s is {expiry_s!r} and wait_s {wait_s!r}; both must be above 0")
        self._folder = folder
        self._expiry_s = expiry_s
        self._wait_s = wait_s
        self._closed = threading.Event()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(folder, error.strerror) from error

    @contextmanager
    def hold(self, serial: str) -> Iterator[None]:
        """Hold the phone of that serial alone for the length of the block.

        Raises:
            PhoneError: `phone_busy`: the turn does not come in time; the message names the process that has the phone.
                `lease_lost`: after the block, if another process got the phone before it ended; nothing measured in it
                counts.
            ToolError: `lease_unusable`: the phone's file cannot be read or written.
        """
        token = self._wait_for_turn(serial)
        ended = threading.Event()
        renewer = threading.Thread(target=self._renew, args=(serial, token, ended), name="lease", daemon=True)
        renewer.start()
        try:
            yield
        except BaseException:
            # The error of the block matters more; a claim that cannot be given back ends with the process.
            with suppress(ToolError):
                self._leave(serial, token)
            raise
        else:
            if not self._leave(serial, token):
                raise PhoneError(
                    "lease_lost",
                    f"phone {serial}: this process was stopped for longer than {self._expiry_s:g} s, and another one "
                    "has taken the phone meanwhile; what was measured does not count",
                )
        finally:
            ended.set()
            renewer.join()

    def close(self) -> None:
        """End all waiting; leases that are held stay until their blocks end."""
        self._closed.set()

    def pause(self, seconds: float) -> bool:
        """Sleep; return at once, with True, when waiting has been ended by `close`."""
        return self._closed.wait(seconds)

    def _wait_for_turn(self, serial: str) -> str:
        token = uuid.uuid4().hex
        started_s = time.monotonic()
        deadline_s = started_s + self._wait_s
        said = False
        while True:
            with self._line(serial, token) as line:
                if all(claim.token != token for claim in line):
                    line.append(self._claim(token))
                else:
                    _extend(line, token, self._expiry_s)
                first = line[0]
            if first.token == token:
                return token
            if not said and time.monotonic() - started_s > _SILENCE_S:
                said = True
                _LOG.info(
                    "phone %s: in use by process %d (%s); waiting up to %g s for a turn",
                    *(serial, first.pid, first.command, self._wait_s),
                )
            if self.pause(_POLL_S) or time.monotonic() > deadline_s:
                self._leave(serial, token)
                raise PhoneError(
                    "phone_busy",
                    f"phone {serial}: in use by process {first.pid} ({first.command}); waited {self._wait_s:g} s for "
                    "a turn. Wait for that process, or end it",
                )

    def _claim(self, token: str) -> _Claim:
        started = start_ticks(os.getpid())
        assert started is not None  # this process is there
        command = " ".join(" ".join(sys.orig_argv).split())[:200]
        return _Claim(token, os.getpid(), started, process_place(), command, time.time() + self._expiry_s)

    def _renew(self, serial: str, token: str, ended: threading.Event) -> None:
        while not ended.wait(self._expiry_s / 3):
            # If it cannot be renewed it expires, which is noticed at the end.
            with suppress(ToolError), self._line(serial, token) as line:
                _extend(line, token, self._expiry_s)

    def _leave(self, serial: str, token: str) -> bool:
        """Give the place in the queue back; return whether it was still the first."""
        with self._line(serial, token) as line:
            had_turn = bool(line) and line[0].token == token
            line[:] = [claim for claim in line if claim.token != token]
        return had_turn

    @contextmanager
    def _line(self, serial: str, token: str) -> Iterator[list[_Claim]]:
        """Give the queue of living claims, and write back what the block makes of it.

        Our own claim is in it at any age.
        """
        path = self._folder / f"{quote(serial, safe='')}.json"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise _unusable(path, error.strerror) from error
        try:
            self._lock(file, path)
            before = _parse(os.pread(file, 1 << 20, 0))
            line = [claim for claim in before if claim.token == token or claim.alive()]
            yield line
            if line != before:
                # One write, read back up to the line's end: a kill leaves the old queue or the new one.
                os.pwrite(file, json.dumps([asdict(claim) for claim in line]).encode() + b"\n", 0)
        except OSError as error:
            raise _unusable(path, error.strerror) from error
        finally:
            os.close(file)

    def _lock(self, file: int, path: Path) -> None:
        # Held for an instant, unless its holder is stopped at that moment; so this wait needs a limit too.
        deadline_s = time.monotonic() + self._wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > deadline_s:
                    raise _unusable(path, "locked by a process that is stopped; end it") from error
                time.sleep(_POLL_S / 10)
            except OSError as error:
                if not lacks_locks(error):
                    raise
                reason = f"{error.strerror}: its file system ({file_system_of(path)}) has no locks"
                raise _unusable(path, reason) from error


def _extend(line: list[_Claim], token: str, expiry_s: float) -> None:
    """Renew our claim if two thirds of its time or less are left."""
    now_s = time.time()
    for place, claim in enumerate(line):
        if claim.token == token and claim.expires_at_s - now_s <= expiry_s * 2 / 3 + _POLL_S:
            line[place] = replace(claim, expires_at_s=now_s + expiry_s)


def _parse(text: bytes) -> list[_Claim]:
    first_line = text.partition(b"\n")[0]
    try:
        return [_Claim(**claim) for claim in json.loads(first_line)]
    except (ValueError, TypeError):
        return []  # A new file, or one that is not ours: nobody can hold a lease by it.


def _unusable(path: Path, reason: str | None) -> ToolError:
    return ToolError(
        "lease_unusable",
        f"phone leases, {path}: {reason}; set XDG_STATE_HOME to a folder that can be written and locked",
    )


def user_leases() -> PhoneLeases:
    """Return the leases that all runs of this user share.

    They are in `~/.local/state/mnas/leases`; `XDG_STATE_HOME` moves it.
    """
    return PhoneLeases(state_folder() / "leases")
