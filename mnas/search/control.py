"""Requests to a search that runs, in a file of its run directory that is only appended to.

A line is one request. The driver reads what is new at every step, so nobody waits for anybody. A driver that was killed
and starts again finds the requests: a pause lasts until `mnas resume`, and a cancelled trial stays cancelled. A stop is
for the search that runs when it is asked for; the next one does not obey it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from mnas.documents.check import convert
from mnas.documents.errors import DocumentError
from mnas.documents.json_text import parse_json
from mnas.files import RunDirectoryError, open_for_append
from mnas.search.requests import Requests

CONTROL_FILE = "control.jsonl"
# Far more than anybody asks for; what a foreign file has beyond it is not read.
MAX_BYTES = 10_000_000


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request.

    Attributes:
        do: What is asked for. `drain` ends the search when what is pending has ended, `stop` ends it at once.
        trial: The trial that `cancel` is about.
    """

    do: Literal["pause", "resume", "drain", "stop", "cancel"]
    trial: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None


def ask(directory: Path, request: Request) -> None:
    """Add a request; it is on disk when this returns.

    Raises:
        RunDirectoryError: The file cannot be written.
    """
    with open_for_append(directory / CONTROL_FILE) as file:
        # The newline before it ends a line that a killed process has left unfinished.
        file.write(f"\n{msgspec.json.encode(request).decode()}\n")
        file.flush()
        os.fsync(file.fileno())


class ControlFile:
    """What is asked of the search of a run directory; see `SearchControl`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / CONTROL_FILE
        self._offset = 0
        self._rest = b""
        self._now = Requests()
        self._read()
        self._now = Requests(paused=self._now.paused, cancelled=self._now.cancelled)

    def requests(self) -> Requests:
        """See `SearchControl`."""
        self._read()
        return self._now

    def _read(self) -> None:
        *lines, self._rest = (self._rest + self._new_bytes()).split(b"\n")
        for number, line in enumerate(lines, start=1):
            if line.strip():
                self._now = _after(self._now, line, f"{self._path}: line {number}")

    def _new_bytes(self) -> bytes:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # nobody has asked for anything
            return b""
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                return b""
            new = os.pread(file, MAX_BYTES - self._offset, self._offset) if self._offset < MAX_BYTES else b""
        finally:
            os.close(file)
        self._offset += len(new)
        return new


def _after(before: Requests, line: bytes, source: str) -> Requests:
    """Return what is asked for after one more line; a line that is no request changes nothing."""
    try:
        request = convert(parse_json(line, source=source), Request, source=source)
    except DocumentError:
        return before
    match request.do:
        case "pause" | "resume":
            return Requests(request.do == "pause", before.stop, before.cancelled)
        case "drain":
            return Requests(before.paused, before.stop or "drain", before.cancelled)
        case "stop":
            return Requests(before.paused, "now", before.cancelled)
        case "cancel":
            added = frozenset(() if request.trial is None else (request.trial,))
            return Requests(before.paused, before.stop, before.cancelled | added)


def check_is_run(directory: Path) -> None:
    """Raise RunDirectoryError unless the directory holds a run."""
    if not (directory / "trials.sqlite").is_file():
        raise RunDirectoryError(f"{directory}: no run of mnas; name the directory of a search")
