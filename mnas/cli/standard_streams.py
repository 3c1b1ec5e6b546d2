"""Standard output and standard error of a command, whatever they are: closed, full, or a pipe without a reader.

Standard output gets the answer of a command, so an answer that cannot be written is an error. Standard error gets
messages and progress: a search does not stop because the disk of its log is full.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast

from mnas.documents.foreign_text import printable
from mnas.errors import Error


class StandardOutputError(Error):
    """Standard output cannot be written."""


@contextmanager
def standard_streams() -> Iterator[None]:
    """Let this process print safely for as long as the context lasts.

    What is printed is `printable`. Writing to standard output raises StandardOutputError if it is closed or full, and
    BrokenPipeError if its reader has gone. What standard error cannot take is dropped.
    """
    _open_missing_descriptors()
    output, messages = cast(TextIO, _Answer(sys.stdout)), cast(TextIO, _Messages(sys.stderr))
    with redirect_stdout(output), redirect_stderr(messages):
        yield


def discard_output() -> None:
    """Drop what standard output has not taken; Python would complain about it once more at its end."""
    with suppress(OSError, ValueError, AttributeError):  # closed, or no file
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _open_missing_descriptors() -> None:
    """Open what `>&-` has closed on /dev/null.

    Otherwise the next file that is opened, such as a run's database, gets number 1 and all that a library prints.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # Descriptors are given out from the lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)


class _Stream:
    """Text stream; all that is not defined here is that of the stream below."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def write(self, text: str) -> int:
        raise NotImplementedError


class _Answer(_Stream):
    """Standard output."""

    def write(self, text: str) -> int:
        if self._stream is None:
            raise StandardOutputError("standard output is closed; give it a file, or /dev/null if nobody reads it")
        with _explained():
            _write(self._stream, printable(text))
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with _explained():
                self._stream.flush()


class _Messages(_Stream):
    """Standard error."""

    def write(self, text: str) -> int:
        if self._stream is not None:
            with suppress(OSError):
                _write(self._stream, text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with suppress(OSError):
                self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StandardOutputError(
            f"standard output: {error.strerror or error}; the answer is incomplete, print it somewhere else"
        ) from error


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # in a locale without these characters
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
