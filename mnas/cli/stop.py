"""`mnas stop RUN`."""

from __future__ import annotations

import argparse

from mnas.cli.asking import add_run_directory, ask_search
from mnas.search.control import Request

_DESCRIPTION = """\
End a search that runs, from any shell. Nothing new is started, and the search
ends when what is pending has ended; with --now it ends at once, as by Ctrl-C,
and what was pending is done again when it goes on.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "stop",
        help=summary,
        description=_DESCRIPTION,
        epilog="example: mnas stop runs/quickstart",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_directory(parser)
    parser.add_argument("--now", action="store_true", help="do not wait for what is pending")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    done = "ends now" if arguments.now else "ends when what is pending has ended"
    return ask_search(
        arguments.run_directory, Request(do="stop" if arguments.now else "drain"), done, needs_search=True
    )
