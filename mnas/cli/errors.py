"""From errors to exit codes: what users can cause or fix is said in one line, without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout

from mnas.documents.errors import Error, InputError
from mnas.documents.foreign_text import printable, printable_stream

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def explained(run: Callable[[], int]) -> int:
    """Run a command; turn its errors into a message on standard error and an exit code."""
    try:
        with redirect_stdout(printable_stream(sys.stdout)):
            code = run()
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if (failed := exit_code(error)) is None:
            raise
        print(f"mnas: {printable(error)}", file=sys.stderr)
        return failed


def exit_code(error: Exception) -> int | None:
    """Return the exit code of an error that a user can fix, None for a fault of mnas."""
    if isinstance(error, InputError):
        return BAD_INPUT
    return FAILED if isinstance(error, Error) else None
