"""A connected phone: run commands, push and pull files."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from latency.adb import sync
from latency.adb.connection import Connection, Deadline
from latency.adb.shell import ShellResult, command_line, run_command
from latency.errors import PhoneError, PhoneGoneError

# Free blocks and the size of a block, where the file will be; both GNU's and Android's stat know these letters.
_PREPARE_PUSH = """
[ -d "$1" ] || mkdir -p -- "$1" || exit 1
[ ! -e "$2" ] || rm -f -- "$2" || exit 1
exec stat -f -c "%a %S" -- "$1"
"""


class AdbDevice:
    """A phone that is connected and has accepted this host; a context manager.

    One call at a time. Every call ends within its `timeout_s` and raises PhoneError or ToolError. ValueError and
    OSError are raised only for an argument that cannot be sent (a NUL character, a local file that cannot be read).

    After any error the device is closed: what the phone still sends could be taken for the answer to the next question.
    Connect again.

    Attributes:
        serial: The phone's address, in errors too.
    """

    def __init__(self, connection: Connection, serial: str) -> None:
        self.serial = serial
        self._connection = connection
        self._closed_because: str | None = None

    @property
    def closed(self) -> bool:
        """Whether it was closed, by `close` or by an error."""
        return self._closed_because is not None

    def shell(self, argv: Sequence[str], timeout_s: float) -> ShellResult:
        """Run a command; every argument arrives unchanged.

        A script is constant text and takes its values as arguments: ["sh", "-c", SCRIPT, "mnas", value, ...].

        Args:
            argv: The command and its arguments.
            timeout_s: Time for the command. The phone kills it soon after. It does not kill the command's children: a
                script should `exec` what runs long.

        Returns:
            The result; a status other than 0 is no error.
        """
        line = command_line(argv, timeout_s)
        with self._operation(f"run {argv[0]}", timeout_s) as deadline:
            return run_command(self._connection, line, deadline)

    def push(
        self,
        data: bytes | Path,
        remote_path: str,
        *,
        executable: bool = False,
        in_place: bool = False,
        timeout_s: float = 120.0,
    ) -> None:
        """Write a file of the phone, all of it or nothing; make the folders that it needs.

        The data go to `remote_path` + ".part" first, so only one push of a path may run at a time.

        Args:
            data: The content, or a file that has it.
            remote_path: The file on the phone.
            executable: Whether it is a program.
            in_place: Write to `remote_path` itself, which saves an exchange with the phone. If the connection is cut, a
                part of the file may stay.
            timeout_s: Time for everything.

        Raises:
            PhoneError: `phone_full`, before anything is sent if the phone tells its free space in time. `phone_file`.
                The kinds of every call.
        """
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        part_path = remote_path if in_place else remote_path + ".part"
        with self._operation(f"push {remote_path}", timeout_s) as deadline:
            free = self._prepare_push(posixpath.dirname(remote_path) or "/", part_path, deadline)
            if free < size:
                raise self._full(remote_path, size, free)
            try:
                with _open(data) as source:
                    sync.send(self._connection, source, part_path, 0o755 if executable else 0o644, deadline)
            except sync.FileError as failure:
                self._run(["rm", "-f", "--", part_path], deadline)
                if "No space left" in str(failure) or "quota" in str(failure):
                    raise self._full(remote_path, size, free) from failure
                raise PhoneError("phone_file", f"{deadline.operation}: {failure}") from failure
            if in_place:
                return
            moved = self._run(["mv", "-f", "--", part_path, remote_path], deadline)
            if moved.failed:
                raise PhoneError("phone_file", f"{deadline.operation}: {moved.last_words}")

    def pull(self, remote_path: str, timeout_s: float = 120.0) -> bytes:
        """Return the content of a file of the phone.

        Raises:
            PhoneError: `phone_file`: it cannot be read. The kinds of every call.
        """
        with self._operation(f"pull {remote_path}", timeout_s) as deadline:
            try:
                return sync.receive(self._connection, remote_path, deadline)
            except sync.FileError as failure:
                raise PhoneError("phone_file", f"{deadline.operation}: {failure}") from failure

    def close(self) -> None:
        """Close the connection; closing twice is allowed."""
        self._close("close() was called")

    def __enter__(self) -> AdbDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _operation(self, what: str, timeout_s: float) -> Iterator[Deadline]:
        if self._closed_because is not None:
            raise PhoneGoneError(f"{self.serial}: this connection is closed ({self._closed_because}); connect again")
        try:
            yield Deadline.after(timeout_s, f"{self.serial}: {what}")
        except BaseException as error:  # Also Ctrl-C: the answer is still to come.
            self._close(str(error) or type(error).__name__)
            raise

    def _close(self, reason: str) -> None:
        if self._closed_because is None:
            self._closed_because = reason
            self._connection.close()

    def _run(self, argv: Sequence[str], deadline: Deadline) -> ShellResult:
        return run_command(self._connection, command_line(argv, deadline.remaining_s()), deadline)

    def _prepare_push(self, folder: str, part_path: str, deadline: Deadline) -> int:
        """Make the folder; return the free space there, in bytes."""
        result = self._run(["sh", "-c", _PREPARE_PUSH, "mnas", folder, part_path], deadline)
        try:
            blocks, block_bytes = result.stdout.split()
            return int(blocks) * int(block_bytes)
        except ValueError as error:
            reason = result.last_words or "it does not tell the free space"
            raise PhoneError("phone_file", f"{deadline.operation}: {reason}") from error

    def _full(self, remote_path: str, size: int, free: int) -> PhoneError:
        return PhoneError(
            "phone_full",
            f"{self.serial}: {remote_path} needs {size} bytes, {free} were free; make room on the phone",
        )


def _open(data: bytes | Path) -> BinaryIO:
    return io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")
