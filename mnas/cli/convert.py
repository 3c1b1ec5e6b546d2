"""`mnas convert RUN --to FORM`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mnas.cli.errors import DONE
from mnas.cli.options import path
from mnas.conversion import CONVERSIONS, convert_run
from mnas.search.run import Run

_DESCRIPTION = """\
Write the trials of a run for other programs: a study of Optuna (SQLite, for
Optuna's own dashboard), a table (CSV), or a line of JSON for each trial.
"""
_EPILOG = """\
examples:
  mnas convert runs/quickstart --to csv
  mnas convert runs/quickstart --to jsonl --out trials.jsonl
  mnas convert runs/quickstart --to optuna --out study.db
"""
_NAMES = {"optuna": "optuna.db", "csv": "trials.csv", "jsonl": "trials.jsonl"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "convert",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_directory", metavar="RUN", type=path, help="run directory of a search")
    parser.add_argument("--to", choices=tuple(CONVERSIONS), required=True, help="the form")
    parser.add_argument("--out", metavar="FILE", type=path, help="the file to write (default: in the run directory)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    found = Run.open(arguments.run_directory)
    target: Path = arguments.out or found.directory / _NAMES[arguments.to]
    print(convert_run(found, arguments.to, target))
    return DONE
