"""`mnas search EXPERIMENT.yaml`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnas.search.launch import SearchResult

_DESCRIPTION = """\
Carry out the search that a YAML file describes, or go on with it: the same command on the same run
directory resumes where it stopped, whatever stopped it. Standard output gets the best architecture.
"""
_EPILOG = """\
examples:
  mnas search quickstart
  mnas search my_search.yaml --run-dir runs/second-try
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "search",
        help="search for an architecture, or resume a search",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", metavar="EXPERIMENT", help="name of a bundled experiment, or a YAML file")
    parser.add_argument("--run-dir", type=Path, help="where the run is kept (default: runs/ and the experiment's name)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from mnas.bundled_files import find_experiment
    from mnas.cli.errors import DONE, INTERRUPTED
    from mnas.cli.interrupt import terminate_as_interrupt
    from mnas.experiment import load_experiment

    path = find_experiment(arguments.experiment)
    experiment = load_experiment(path)
    directory = arguments.run_dir or Path("runs") / path.stem

    # Only now: Ray takes its time to load, and a mistake in the experiment should be told at once.
    from mnas.cli.progress import search_progress
    from mnas.search.launch import run_search

    terminate_as_interrupt()
    try:
        with search_progress() as observer:
            result = run_search(experiment, directory, observer)
    except KeyboardInterrupt:
        print(f"mnas: stopped; nothing is lost. To go on: {_same_command(arguments)}", file=sys.stderr)
        return INTERRUPTED
    _print_result(result, directory, as_json=arguments.json)
    return DONE


def _same_command(arguments: argparse.Namespace) -> str:
    run_dir = f" --run-dir {arguments.run_dir}" if arguments.run_dir else ""
    return f"mnas search {arguments.experiment}{run_dir}"


def _print_result(result: SearchResult, directory: Path, *, as_json: bool) -> None:
    from mnas.cli.best import print_trial
    from mnas.cli.output import print_json, trial_to_dict

    if as_json:
        counts = {"complete": result.complete, "failed": result.failed}
        print_json(
            {"run": str(directory), "best": trial_to_dict(result.best), "best_file": str(result.best_path), **counts}
        )
        return
    print(f"{result.complete} trials complete, {result.failed} failed; the best:")
    print_trial(result.best, result.input_form)
    print(f"run directory  {directory}")
    print(f"written to     {result.best_path}")
