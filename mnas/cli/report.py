"""`mnas report RUN [RUN ...]`."""

from __future__ import annotations

import argparse

from mnas.cli.errors import DONE
from mnas.cli.options import add_references, path
from mnas.report.file import write_report
from mnas.search.run import Run

_DESCRIPTION = """\
Write what a search has found as one HTML file: charts, a table of the trials,
each network, the health of the phones. It needs no network and no server.
Several runs are compared. A run may still be searched.
"""
_EPILOG = """\
examples:
  mnas report runs/quickstart
  mnas report runs/first runs/second --out comparison.html
  mnas report runs/quickstart --reference mnasnet.json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", metavar="RUN", type=path, nargs="+", help="run directory of a search")
    parser.add_argument(
        "--out", metavar="FILE", type=path, help="the file to write (default: report.html in the first RUN)"
    )
    add_references(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    runs = [Run.open(directory) for directory in arguments.runs]
    print(write_report(runs, arguments.out or runs[0].directory / "report.html", arguments.reference))
    return DONE
