"""The command line: `mnas COMMAND ...`; one module per command. Only this module's imports cost start-up time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mnas import __version__
from mnas.cli import (
    arch,
    best,
    clean,
    completion,
    export,
    init,
    phones,
    retrain,
    schema,
    search,
    show,
    space,
    validate,
)
from mnas.cli.errors import explained

_DESCRIPTION = """\
Platform-aware neural architecture search on real hardware (MnasNet, arXiv
1807.11626).

A controller proposes networks, workers train each one briefly, a phone times
it, and the reward accuracy x (latency / target)^w drives the search.
"""
_EPILOG = """\
A first search, on the digits that come with mnas:
  mnas search quickstart
  mnas show runs/quickstart
  mnas best runs/quickstart

A search on images of your own:
  mnas init --data photos
  mnas search photos.yaml

`mnas COMMAND --help` has examples of each command.
Exit codes: 0 done, 1 the work failed, 2 wrong usage or input, 130 interrupted.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="mnas",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mnas {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (init, search, show, best, export, retrain, validate, space, arch, phones, schema, clean):
        command.add_parser(commands)
    completion.add_parser(commands, build_parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parsed = build_parser().parse_args(arguments)
    return explained(parsed.run, parsed)


if __name__ == "__main__":
    sys.exit(main())
