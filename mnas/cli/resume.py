"""`mnas resume RUN`."""

from __future__ import annotations

import argparse

from mnas.cli.asking import add_run_directory, ask_search
from mnas.search.control import Request

_DESCRIPTION = """\
Let a search that `mnas pause` has paused go on. A search that was stopped goes
on with the command that started it.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "resume",
        help=summary,
        description=_DESCRIPTION,
        epilog="example: mnas resume runs/quickstart",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_directory(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return ask_search(arguments.run_directory, Request(do="resume"), "goes on")
