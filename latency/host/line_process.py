"""A helper process that reads and writes single lines over pipes.

Every answer has a time limit.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence

from latency.host.pause_guard import process_stat

MAX_LINE_BYTES = 1 << 24
"""The longest answer that is read, 16 MiB; 100,000 timed runs are a third of it."""


class ProcessEndedError(Exception):
    """The helper process is gone.

    The message has its exit status and the end of what it wrote to stderr.
    """


class LineProcess:
    """Starts `command` and exchanges single lines with it.

    It runs in a session of its own, so that Ctrl-C in the terminal does not reach it. It must end by itself when its
    standard input ends, which also happens when this process is killed.

    Raises:
        OSError: It cannot start.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._stderr = os.fdopen(os.memfd_create("stderr"), "r+b")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=environment,
                pass_fds=pass_fds,
                start_new_session=True,
                bufsize=0,
            )
        except OSError:
            self._stderr.close()
            raise
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to_process = self._process.stdin
        self._from_process = self._process.stdout
        self._received = bytearray()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def ended_by(self) -> int | None:
        """The signal that ended the process; None if it runs or has ended by itself."""
        status = self._process.poll()
        return -status if status is not None and status < 0 else None

    @property
    def cpu_s(self) -> float:
        """CPU time that the process has used so far, in seconds; 0 if it is gone."""
        fields = process_stat(f"/proc/{self.pid}/stat")
        if fields is None:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, line: str, timeout_s: float) -> str:
        """Send one short line and wait for one line back.

        After an error, the only thing left to do is `kill`.

        Raises:
            ProcessEndedError: The process is gone.
            TimeoutError: No answer comes in time.
            ValueError: As `receive` does.
        """
        self.send(line)
        return self.receive(timeout_s)

    def send(self, line: str) -> None:
        """Send one line, shorter than a pipe's buffer (64 KiB).

        Raises:
            ProcessEndedError: The process is gone.
        """
        try:
            self._to_process.write(line.encode() + b"\n")
        except OSError as error:
            raise ProcessEndedError(self._ending()) from error

    def receive(self, timeout_s: float) -> str:
        """Wait for one line.

        Raises:
            ProcessEndedError: The process is gone.
            TimeoutError: No line comes in time.
            ValueError: The line is longer than `MAX_LINE_BYTES`, or no UTF-8.
        """
        deadline = time.monotonic() + timeout_s
        readable = select.poll()  # Unlike select(), it takes descriptors above 1023.
        readable.register(self._from_process, select.POLLIN)
        searched = 0
        while self._received.find(b"\n", searched) < 0:
            searched = len(self._received)
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or not readable.poll(remaining_s * 1000):
                raise TimeoutError(f"no answer within {timeout_s:g} s")
            chunk = os.read(self._from_process.fileno(), 1 << 16)
            if not chunk:
                raise ProcessEndedError(self._ending())
            self._received += chunk
            if len(self._received) > MAX_LINE_BYTES:
                raise ValueError(f"a line of more than {MAX_LINE_BYTES} bytes")
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def close(self, timeout_s: float = 2.0) -> None:
        """End the process by ending its input; kill it if it does not end in time.

        May be repeated.
        """
        self._to_process.close()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._from_process.close()
        self._stderr.close()

    def kill(self) -> None:
        """End the process at once, also if it is frozen."""
        self._process.kill()
        self.close()

    def _ending(self) -> str:
        try:
            status = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return "it closed its pipes but still runs"
        ending = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 2000))
        last_words = self._stderr.read().decode(errors="replace").strip()
        return f"{ending}: {last_words}" if last_words else ending
