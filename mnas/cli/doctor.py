"""`mnas doctor RUN`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from mnas.cli.asking import add_run_directory
from mnas.cli.errors import DONE, FAILED
from mnas.cli.output import print_json
from mnas.documents.foreign_text import printable
from mnas.search.doctor import examine, repair

_DESCRIPTION = """\
Check a run directory: the database, every trial, the calls of the controller
and its state. Nothing is changed without --repair, which keeps the damaged
database and copies what can be read. Exit code 1 if something is wrong.
"""
_EPILOG = """\
examples:
  mnas doctor runs/quickstart
  mnas doctor runs/quickstart --replay    # the controller's calls, too; slow
  mnas doctor runs/quickstart --repair
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_directory(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--replay", action="store_true", help="repeat the calls of the controller and compare")
    how.add_argument("--repair", action="store_true", help="repair what can be repaired")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    directory = arguments.run_directory
    findings = examine(directory, replayed=arguments.replay)
    if arguments.repair and any(finding.repairable for finding in findings):
        for finding in findings:
            print(printable(f"found: {finding.what}"), file=sys.stderr)
        findings = repair(directory)
    if arguments.json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            how = f"--repair: {finding.remedy}" if finding.repairable else finding.remedy
            print(printable(f"{finding.what}\n    {how}"))
        if not findings:
            print(f"nothing is wrong with {printable(str(directory))}")
    return FAILED if findings else DONE
