"""`mnas copy RUN DEST`."""

from __future__ import annotations

import argparse

from mnas.cli.asking import add_run_directory
from mnas.cli.errors import DONE
from mnas.cli.options import path
from mnas.documents.foreign_text import printable
from mnas.search.copy_run import copy_run

_DESCRIPTION = """\
Copy a run directory, also while it is searched: the copy is the run as it was
at one moment, and the search is not held up. A copy is a run: `mnas search`
goes on with it, here or on another machine.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "copy",
        help=summary,
        description=_DESCRIPTION,
        epilog="example: mnas copy runs/quickstart backups/quickstart",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_directory(parser)
    parser.add_argument("target", metavar="DEST", type=path, help="a new directory")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    trials = copy_run(arguments.run_directory, arguments.target)
    print(f"{trials} trials copied to {printable(str(arguments.target))}")
    return DONE
