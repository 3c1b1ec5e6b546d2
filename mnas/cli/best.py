"""`mnas best RUN`."""

from __future__ import annotations

import argparse

from mnas.cli.errors import DONE
from mnas.cli.options import path, positive
from mnas.cli.output import number, print_json, trial_to_dict
from mnas.data import ImageForm
from mnas.documents.yaml_file import dump
from mnas.errors import ConfigurationError
from mnas.search.run import Run
from mnas.search.store import Trial
from mnas.search.target import target_note
from search_space import architecture_file_to_dict, architecture_from_dict, cost, format_block

_DESCRIPTION = """\
Show the best architectures of a run, or one trial. Repeats of the same network
are left out.
"""
_EPILOG = """\
examples:
  mnas best runs/quickstart
  mnas best runs/quickstart --count 5
  mnas best runs/quickstart --trial 12 --yaml > found.yaml
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "best",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_directory", metavar="RUN", type=path, help="run directory of a search")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--count", type=positive, default=1, help="how many to show (default: 1)")
    which.add_argument("--trial", metavar="N", type=int, help="this trial instead of the best")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--yaml", action="store_true", help="print the architecture as the YAML of an architecture file")
    how.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    found = Run.open(arguments.run_directory)
    if arguments.yaml and arguments.count > 1:
        raise ConfigurationError("--yaml prints one architecture; give --trial N instead of --count")
    if arguments.trial is not None:
        trials = [found.trial(arguments.trial)]
    else:
        trials = found.best_trials(arguments.count) or [found.best()]
    if arguments.json:
        print_json([trial_to_dict(trial) for trial in trials])
    elif arguments.yaml:
        print(dump(architecture_file_to_dict(found.architecture_file(trials[0]))), end="")
    else:
        for trial in trials:
            print_trial(trial, found.image_form)
        print_target_note(found)
    return DONE


def print_target_note(found: Run) -> None:
    """Say on standard output if the target latency sets no network of the run apart."""
    if note := target_note(found.trials, found.experiment):
        print(note)


def print_trial(trial: Trial, form: ImageForm) -> None:
    """Print one trial for people."""
    architecture = architecture_from_dict(trial.architecture)
    counted = cost(form.lower(architecture))
    print(f"trial          {trial.id}")
    if trial.failure is not None:
        print(f"failed         {trial.failure.kind.value}: {trial.failure.message}")
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
