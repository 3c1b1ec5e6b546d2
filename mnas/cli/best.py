"""`mnas best RUN`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnas.search.store import Trial


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "best", help="show the best architectures of a run", description="Show the best architectures of a run."
    )
    parser.add_argument("run_directory", metavar="RUN", type=Path, help="run directory of a search")
    parser.add_argument("--count", type=_positive, default=1, help="how many to show (default: 1)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from mnas.cli.errors import DONE
    from mnas.cli.output import print_json, trial_to_dict
    from mnas.search.run import Run

    opened = Run.open(arguments.run_directory)
    trials = opened.best_trials(arguments.count) or [opened.best()]
    if arguments.json:
        print_json([trial_to_dict(trial) for trial in trials])
    else:
        for trial in trials:
            print_trial(trial, opened.input_form)
    return DONE


def print_trial(trial: Trial, input_form: Mapping[str, int]) -> None:
    """Print one complete trial for people."""
    from mnas.cli.output import number
    from search_space import architecture_from_dict, cost, format_block, lower

    architecture = architecture_from_dict(trial.architecture)
    counted = cost(lower(architecture, **input_form))
    print(f"trial          {trial.id}")
    print(f"accuracy       {number(trial.accuracy, 4)} on the reward set")
    print(f"latency        {number(trial.latency_ms, 4)} ms, measured")
    for name, latency_ms in trial.other_latencies_ms.items():
        print(f"               {number(latency_ms, 4)} ms on {name}")
    print(f"reward         {number(trial.reward, 4)}")
    print(f"parameters     {counted.trainable_params:,}")
    print(f"multiply-adds  {counted.multiply_adds:,}")
    print(f"architecture   stem {architecture.stem_filters}, head {architecture.head_filters}")
    for block in architecture.blocks:
        print(f"               {format_block(block)}")


def _positive(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count
