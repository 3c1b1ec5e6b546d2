"""`mnas check`: what stands in the way of a search or a training on this machine."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import get_args

from mnas.cli.errors import DONE, FAILED
from mnas.cli.output import print_json
from mnas.documents.foreign_text import one_line
from mnas.machine.check import check_machine
from mnas.mindspore_setup import Device

_DESCRIPTION = """\
Check what a search and a training need on this machine: packages, cores and
memory; for Ascend also CANN, driver, NPUs and environment variables. Each line
says what was found, and the remedy if it does not do. Nothing is changed.
"""
_EPILOG = """\
examples:
  mnas check
  mnas check --device Ascend

exit code: 0 nothing stands in the way, 1 something does
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=get_args(Device), default="CPU", help="what is to compute (default: CPU)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    findings = check_machine(arguments.device)
    if arguments.json:
        print_json([asdict(each) for each in findings])
    else:
        for each in findings:
            print(f"{'ok' if each.ok else 'NO':<3} {each.subject:<16} {one_line(each.text)}")
    return DONE if all(each.ok for each in findings) else FAILED
