"""From errors to exit codes: what users can cause or fix is said in one line, without a traceback."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable

from mnas.cli.standard_streams import discard_output, standard_streams
from mnas.documents.errors import Error, InputError
from mnas.documents.foreign_text import printable
from mnas.errors import ConfigurationError
from mnas.signals import STOP_SIGNALS, Stopped

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_FULL = "free some space there and run the same command again"
_FORBIDDEN = "make it writable, or choose another place"
# What to do about errors of the operating system.
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: _FORBIDDEN,
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "check the disk",
}


def explained(run: Callable[[], int]) -> int:
    """Run a command; turn its errors into a message on standard error and an exit code."""
    with standard_streams():
        try:
            try:
                code = run()
            except SystemExit:  # argparse's, after it has printed a help text
                sys.stdout.flush()
                raise
            sys.stdout.flush()
            return code
        except KeyboardInterrupt as interrupt:
            return interrupted(interrupt)
        except BrokenPipeError:  # the reader of our output has gone
            discard_output()
            return FAILED
        except Exception as error:
            if (failed := exit_code(error)) is None:
                raise
            print(f"mnas: {printable(_line(error))}", file=sys.stderr)
            _flush_or_discard()
            return failed


def interrupted(interrupt: KeyboardInterrupt) -> int:
    """Return the exit code of a stopped command: 128 and the number of the signal.

    Further signals are ignored from here on. Python gives them their default actions back while it ends, and one that
    comes then would end it with another exit code, or with a traceback.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    return interrupt.exit_code if isinstance(interrupt, Stopped) else INTERRUPTED


def exit_code(error: Exception) -> int | None:
    """Return the exit code of an error that a user can fix, None for a fault of mnas."""
    if isinstance(error, InputError):
        return BAD_INPUT
    return FAILED if isinstance(error, Error | OSError) else None


def check_working_directory() -> None:
    """Raise ConfigurationError if the working directory has been deleted: paths are relative to it."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise ConfigurationError("the working directory has been deleted; change to another one") from error


def _line(error: Exception) -> str:
    """Return the message of an error; those of the operating system with the file and what to do."""
    if not isinstance(error, OSError) or isinstance(error, Error):
        return str(error)
    # A number is a file descriptor.
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    where = f"{' -> '.join(named)}: " if named else ""
    return f"{where}{error.strerror or error}; {_REMEDIES.get(error.errno or 0, 'check the path and run it again')}"


def _flush_or_discard() -> None:
    try:
        sys.stdout.flush()
    except (OSError, Error):
        discard_output()
