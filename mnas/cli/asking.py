"""What the commands that ask something of a search have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

from mnas.cli.errors import DONE
from mnas.cli.options import path
from mnas.documents.foreign_text import printable
from mnas.errors import ConfigurationError
from mnas.files import is_locked
from mnas.search.control import Request, ask, check_is_run


def add_run_directory(parser: argparse.ArgumentParser) -> None:
    """Add the argument RUN."""
    parser.add_argument("run_directory", metavar="RUN", type=path, help="run directory of a search")


def ask_search(directory: Path, request: Request, what: str, *, needs_search: bool = False) -> int:
    """Leave a request in a run directory, and say what the search will do.

    Raises:
        RunDirectoryError: There is no run, or it cannot be written.
        ConfigurationError: `needs_search` is set, and no process of this machine searches there.
    """
    check_is_run(directory)
    searched = is_locked(directory)
    if needs_search and not searched:
        raise ConfigurationError(f"{directory}: no process of this machine searches there, so there is nothing to stop")
    ask(directory, request)
    when = "" if searched else "once it runs: no process of this machine searches there now; "
    print(f"{when}the search {what}: {printable(str(directory))}")
    return DONE
