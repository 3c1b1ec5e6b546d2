"""`mnas show RUN`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import msgspec

from mnas.cli.best import accuracy_text
from mnas.cli.errors import DONE
from mnas.cli.options import path
from mnas.cli.output import number, print_json_with_list, print_table, trial_to_dict
from mnas.search.ranking import Noise, digits, reward_error
from mnas.search.run import Run
from mnas.search.trial import Trial


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "show",
        help=summary,
        description="Show every trial of a run, finished or not, also while it is searched.",
        epilog="example: mnas show runs/quickstart --json",
    )
    parser.add_argument("run_directory", metavar="RUN", type=path, help="run directory of a search")
    parser.add_argument("--json", action="store_true", help="print everything that is stored, as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    opened = Run.open(arguments.run_directory)
    best, counts = opened.best_trials(1), opened.counts()
    if arguments.json:
        document = {
            "run": str(arguments.run_directory),
            "experiment": msgspec.to_builtins(opened.experiment),
            "input": opened.image_form.to_dict(),
            "counts": counts,
            "best": best[0].id if best else None,
            "notes": opened.notes(),
        }
        print_json_with_list(document, "trials", map(trial_to_dict, opened.iterate()))
        return DONE
    others = tuple(opened.experiment.latency.others)
    noise = opened.noise
    # Of each trial only its line is kept: its records hold every timed run.
    rows = [_row(trial, others, noise) for trial in opened.iterate()]
    header = ("accuracy", "latency_ms", *(f"{name}_ms" for name in others), "reward")
    print_table(("trial", "state", *header, "blocks"), rows)
    print(f"{counts['complete']} complete, {counts['failed']} failed, {counts['proposed']} pending")
    if not best and counts["failed"] and not counts["proposed"]:
        print("No trial succeeded, so there is no best.")
    if best:
        print(f"best: trial {best[0].id}, accuracy {accuracy_text(best[0], noise)}")
    for note in opened.notes():
        print(note)
    return DONE


def _row(trial: Trial, others: Sequence[str], noise: Noise) -> tuple[str, ...]:
    what = f"{trial.failure.kind.value}: {trial.failure.message}" if trial.failure else ""
    if trial.repeat_of is not None:
        what = f"the same network as trial {trial.repeat_of}"
    blocks = " ".join(map(str, trial.architecture.get("blocks", ())))  # block strings, as the store keeps them
    latencies_ms = (trial.latency_ms, *(trial.other_latencies_ms.get(name) for name in others))
    numbers = (
        number(trial.accuracy, digits(None if trial.accuracy is None else noise.error(trial.accuracy))),
        *(number(value, 4) for value in latencies_ms),
        number(trial.reward, digits(reward_error(trial, noise), most=8)),
    )
    return (str(trial.id), trial.state, *numbers, what or blocks)
