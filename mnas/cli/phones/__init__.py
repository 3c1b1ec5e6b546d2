"""`mnas phones VERB`: one module per verb."""

from __future__ import annotations

import argparse

from mnas.cli.phones import add, check, list_phones, loopback, measure, remove

_DESCRIPTION = """\
Measure latency on phones. A phone is attached over USB or TCP (USB debugging
switched on) and added once under a name. `mnas phones measure` and the YAML of
a search use that name. `host` is this machine.
"""
_EPILOG = """\
from cable to first number:
  mnas phones list
  mnas phones add pixel6 --serial 1A2B3C4D
  mnas phones measure model.onnx --phone pixel6
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "phones",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in (list_phones, add, check, measure, remove, loopback):
        verb.add_parser(verbs)
