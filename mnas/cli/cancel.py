"""`mnas cancel RUN TRIAL`."""

from __future__ import annotations

import argparse

from mnas.cli.asking import add_run_directory, ask_search
from mnas.cli.options import positive
from mnas.errors import ConfigurationError
from mnas.search.control import Request
from mnas.search.run import Run

_DESCRIPTION = """\
End one pending trial: it is recorded as failed (`cancelled`), is not tried
again, and the controller is not told. A child that trains already goes on
until it ends; its result is dropped.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "cancel",
        help=summary,
        description=_DESCRIPTION,
        epilog="example: mnas cancel runs/quickstart 12",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_directory(parser)
    parser.add_argument("trial", metavar="TRIAL", type=positive, help="its number; `mnas show` lists them")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    trial = Run.open(arguments.run_directory).trial(arguments.trial)
    if trial.state != "proposed":
        raise ConfigurationError(f"trial {trial.id} is {trial.state} already; only a pending trial can be cancelled")
    request = Request(do="cancel", trial=trial.id)
    return ask_search(arguments.run_directory, request, f"ends trial {trial.id} as cancelled")
