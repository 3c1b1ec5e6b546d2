"""A command on the phone: adb's shell protocol, version 2 (Android 7 and newer).

Standard output, standard error and exit status arrive separately and unchanged. A packet is an id (1 byte), a length
(4 bytes, little-endian) and that many bytes.
"""

from __future__ import annotations

import math
import shlex
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from latency.adb.connection import Connection, Deadline, ExactReader
from latency.errors import ToolError

_PACKET = struct.Struct("<BI")
_STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = 1, 2, 3, 4

_LOST = 127
_MAX_WORDS = 500
MAX_COMMAND_BYTES = 60_000
"""The longest command that an adb server takes."""
MAX_OUTPUT_BYTES = 1 << 24
"""The most that a command may print, 16 MiB; 100,000 timed runs are a third of it."""
_MAX_PACKET_BYTES = 1 << 20  # Of any adb version.


@dataclass(frozen=True)
class ShellResult:
    """What a command printed, and its exit status.

    The text is decoded as UTF-8, other bytes escaped.
    """

    stdout: str
    stderr: str
    status: int

    @property
    def failed(self) -> bool:
        """Whether the command failed, for commands that say why on standard error.

        The `timeout` of toybox 0.8.9 gives 127 for half of the commands that end at once, whatever their status. A
        command that is not found gives 127 too, and is named on standard error.
        """
        return self.status != 0 and not (self.status == _LOST and not self.stderr.strip())

    @property
    def last_words(self) -> str:
        """The end of what it printed, for an error: of standard error, or of standard output if that is empty."""
        return (self.stderr.strip() or self.stdout.strip())[-_MAX_WORDS:]


def command_line(argv: Sequence[str], timeout_s: float) -> str:
    """Return one line for the phone's shell.

    Every argument is quoted, and the run time is limited on the phone too.

    Raises:
        ValueError: No command line can hold an argument.
    """
    if not argv:
        raise ValueError("a command needs at least its name")
    if any("\0" in argument for argument in argv):
        raise ValueError(f"an argument of a command cannot have a NUL character: {argv!r}")
    # A command whose caller has given up would go on running, and disturb what is measured next.
    line = f"timeout -s KILL {math.ceil(timeout_s)} {shlex.join(argv)}"
    if len(line.encode()) > MAX_COMMAND_BYTES:
        raise ValueError(f"the command {argv[0]!r} has {len(line.encode())} bytes; at most {MAX_COMMAND_BYTES} pass")
    return line


def run_command(connection: Connection, line: str, deadline: Deadline) -> ShellResult:
    """Run a command line with an empty standard input.

    Raises:
        PhoneError: As a stream does.
        ToolError: `adb_protocol`: as a stream does, and when the command prints more than `MAX_OUTPUT_BYTES`.
    """
    stream = connection.open(f"shell,v2,raw:{line}", deadline)
    stream.write(_PACKET.pack(_CLOSE_STDIN, 0), deadline)
    printed = {_STDOUT: bytearray(), _STDERR: bytearray()}
    reader = ExactReader(stream, deadline, "adbd ended it without an exit status")
    while True:
        kind, size = _PACKET.unpack(reader.read(_PACKET.size))
        if kind == _EXIT and size == 1:
            status = reader.read(1)[0]
            stream.close(deadline)
            return ShellResult(_text(printed[_STDOUT]), _text(printed[_STDERR]), status)
        # Before it is read: the size is only what the phone claims.
        if kind not in printed or size > _MAX_PACKET_BYTES:
            raise ToolError(
                "adb_protocol", f"{deadline.operation}: adbd sent a packet {kind} of {size} bytes, which no shell sends"
            )
        if sum(map(len, printed.values())) + size > MAX_OUTPUT_BYTES:
            raise ToolError("adb_protocol", f"{deadline.operation}: it prints more than {MAX_OUTPUT_BYTES} bytes")
        printed[kind] += reader.read(size)


def _text(printed: bytearray) -> str:
    return printed.decode("utf-8", errors="backslashreplace")
