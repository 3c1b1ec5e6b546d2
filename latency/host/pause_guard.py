"""The guard behind `ProcessPauser`.

It stops processes for a moment and always lets them go on.

A process of its own, so that nothing stays frozen when its owner is killed. It uses the standard library only and is
started with `python -I -S` (about 20 ms). One line each way:

    stop LIMIT_S PID:START PID:START ...   ->  stopped COUNT   or   failed REASON (after letting all go on)
    resume                                 ->  resumed PAUSED_S EXPIRED(0 or 1)

If the limit passes before `resume`, everything goes on, and `resume` reports it. The same happens on SIGTERM and when
standard input ends, which it does when the owner dies.

A process is known by its id and its start time (in clock ticks since boot, field 22 of /proc/PID/stat). It is signalled
through a pidfd opened before that check, so a later process with the same id is never touched. A process that is
already stopped stays stopped: the guard continues only what it has stopped.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress

EFFECT_TIMEOUT_S = 2.0
GONE_OR_STOPPED = frozenset("TtZXx")


def process_stat(path: str) -> list[str] | None:
    """Return the fields of a stat file in /proc from the state (field 3) on.

    Returns:
        None if the process is gone.
    """
    try:
        with open(path) as stat:
            return stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def start_ticks(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; None if it is gone."""
    fields = process_stat(f"/proc/{pid}/stat")
    return None if fields is None else int(fields[19])


def all_threads_stopped(pid: int) -> bool:
    """Return whether no thread of the process can run any more."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return True
    stats = (process_stat(f"/proc/{pid}/task/{thread}/stat") for thread in threads)
    return all(fields is None or fields[0] in GONE_OR_STOPPED for fields in stats)


class Guard:
    """Holds the processes that are stopped at the moment."""

    def __init__(self) -> None:
        self._pidfds: dict[int, int] = {}
        self._since = 0.0
        self._deadline = 0.0
        self._paused_s = 0.0
        self._expired = False

    def run(self) -> None:
        """Serve standard input to its end."""
        pending = b""
        while True:
            timeout_s = max(0.0, self._deadline - time.monotonic()) if self._pidfds else None
            if not select.select([0], [], [], timeout_s)[0]:
                self._expired = True
                self.resume()
                continue
            chunk = os.read(0, 1 << 16)
            if not chunk:
                return
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                os.write(1, self._answer(line.decode().split()).encode() + b"\n")

    def _answer(self, words: list[str]) -> str:
        if words[0] == "resume":
            self.resume()
            return f"resumed {self._paused_s:.6f} {int(self._expired)}"
        return self._stop(float(words[1]), [(int(a), int(b)) for a, b in (word.split(":") for word in words[2:])])

    def _stop(self, limit_s: float, processes: list[tuple[int, int]]) -> str:
        self._since = time.monotonic()
        self._deadline = self._since + limit_s
        self._paused_s = 0.0
        self._expired = False
        try:
            for pid, start in processes:
                self._stop_one(pid, start)
        except PermissionError as error:
            self.resume()
            return f"failed {error}"
        effect_deadline = min(self._deadline, self._since + EFFECT_TIMEOUT_S)
        running = list(self._pidfds)
        while running:
            running = [pid for pid in running if not all_threads_stopped(pid)]
            if running and time.monotonic() > effect_deadline:
                self.resume()
                return f"failed {running} did not stop in time"
            if running:
                time.sleep(0.0005)
        return f"stopped {len(self._pidfds)}"

    def _stop_one(self, pid: int, start: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        fields = process_stat(f"/proc/{pid}/stat")
        if pid in self._pidfds or fields is None or int(fields[19]) != start or fields[0] in GONE_OR_STOPPED:
            os.close(pidfd)
            return
        self._pidfds[pid] = pidfd  # Recorded first: what is recorded is always continued.
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue everything that was stopped here."""
        if self._pidfds:
            self._paused_s = time.monotonic() - self._since
        for pid, pidfd in list(self._pidfds.items()):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            del self._pidfds[pid]  # After the signal: SIGTERM in between repeats it, and loses none.
            os.close(pidfd)


def main() -> None:
    """Run the guard until its input ends or SIGTERM comes."""
    guard = Guard()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        guard.run()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        guard.resume()


if __name__ == "__main__":
    main()
