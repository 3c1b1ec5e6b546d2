"""`mnas pause RUN`."""

from __future__ import annotations

import argparse

from mnas.cli.asking import add_run_directory, ask_search
from mnas.search.control import Request

_DESCRIPTION = """\
Let a search start nothing new; what is pending goes on. The pause lasts until
`mnas resume`, also if the search is killed and started again.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "pause",
        help=summary,
        description=_DESCRIPTION,
        epilog="example: mnas pause runs/quickstart",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_directory(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return ask_search(arguments.run_directory, Request(do="pause"), "starts nothing new until `mnas resume`")
