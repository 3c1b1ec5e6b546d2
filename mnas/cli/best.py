"""`mnas best RUN`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from mnas.cli.errors import DONE
from mnas.cli.options import path, positive, positive_number
from mnas.cli.output import number, print_json, trial_to_dict
from mnas.data import ImageForm
from mnas.documents.foreign_text import one_line
from mnas.documents.yaml_file import dump
from mnas.errors import ConfigurationError
from mnas.search.ranking import Noise, digits, reward_error
from mnas.search.run import Run
from mnas.search.store import Trial
from search_space import architecture_file_to_dict, architecture_from_dict, cost, format_block

if TYPE_CHECKING:
    from mnas.search.contest import Finalist

_DESCRIPTION = """\
Show the best architectures of a run, or one trial. Repeats of the same network
are left out. Finalists (search.finalists) come first, with what their fresh
trainings say.
"""
_EPILOG = """\
examples:
  mnas best runs/quickstart
  mnas best runs/quickstart --count 5
  mnas best runs/quickstart --target-ms 0.05       # another question, at once
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
    parser.add_argument("--target-ms", metavar="T", type=positive_number, help="by the rewards of this target, in ms")
    parser.add_argument("--below-ms", metavar="L", type=positive_number, help="only of at most this latency, in ms")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--yaml", action="store_true", help="print the architecture as the YAML of an architecture file")
    how.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    found = Run.open(arguments.run_directory)
    if arguments.yaml and arguments.count > 1:
        raise ConfigurationError("--yaml prints one architecture; give --trial N instead of --count")
    question = {"target_ms": arguments.target_ms, "below_ms": arguments.below_ms}
    if arguments.trial is not None:
        if any(value is not None for value in question.values()):
            raise ConfigurationError("--target-ms and --below-ms choose the best; leave them out with --trial")
        trials, notes = [found.trial(arguments.trial)], []
    else:
        trials = found.best_trials(arguments.count, **question) or [found.best(**question)]
        notes = found.notes(**question)
    noise = found.noise
    target_ms = found.experiment.latency.target_ms if arguments.target_ms is None else arguments.target_ms
    asked = arguments.trial is None and not any(question.values())
    finalists = {finalist.trial.id: finalist for finalist in found.finalists()} if asked else {}
    if arguments.json:
        errors = [None if trial.accuracy is None else noise.error(trial.accuracy) for trial in trials]
        print_json(
            [
                trial_to_dict(trial)
                | {
                    "accuracy_error": error,
                    "target_ms": target_ms,
                    "finalist": finalists[trial.id].to_dict() if trial.id in finalists else None,
                    "weights": None if (weights := found.weights(trial)) is None else str(weights),
                    "notes": notes,
                }
                for trial, error in zip(trials, errors, strict=True)
            ]
        )
    elif arguments.yaml:
        # As it is stored: a reward by another target would not be that of the run it names.
        print(dump(architecture_file_to_dict(found.architecture_file(found.trial(trials[0].id)))), end="", flush=True)
        for note in notes:
            print(f"mnas: {one_line(note)}", file=sys.stderr)
    else:
        for trial in trials:
            print_trial(trial, found.image_form, noise)
            if trial.id in finalists:
                print_finalist(finalists[trial.id], len(finalists))
            if (weights := found.weights(trial)) is not None:
                print(f"weights        {weights}")
        for note in notes:
            print(note)
    return DONE


def print_finalist(finalist: Finalist, finalists: int) -> None:
    """Print what the fresh trainings of a finalist say, for people; `finalists` is how many there are."""
    standing = finalist.standing
    places = max(digits((standing.high - standing.low) / 4), 2)
    trainings = "1 fresh training" if standing.trainings == 1 else f"{standing.trainings} fresh trainings"
    print(f"finalist       reward {standing.mean:.{places}f}, mean of {trainings} (not those of the search)")
    print(f"               accuracy {finalist.accuracy:.4f}, latency {finalist.latency_ms:.4f} ms, means of the same")
    interval = f"from {standing.low:.{places}f} to {standing.high:.{places}f} (95%)"
    print(f"               true reward about {standing.estimate:.{places}f}, {interval}")
    print(f"               best of {finalists} finalists with a probability of {standing.probability_best:.3f}")


def accuracy_text(trial: Trial, noise: Noise) -> str:
    """Return the accuracy of a trial with its standard error, as many digits as mean something."""
    if trial.accuracy is None:
        return "-"
    error = noise.error(trial.accuracy)
    places = digits(error)
    if error is None:
        return number(trial.accuracy, places)
    at_least = "at least " if noise.is_lower_bound else ""
    return f"{trial.accuracy:.{places}f} (standard error {at_least}{error:.1g})"


def print_trial(trial: Trial, form: ImageForm, noise: Noise) -> None:
    """Print one trial for people."""
    architecture = architecture_from_dict(trial.architecture)
    counted = cost(form.lower(architecture))
    print(f"trial          {trial.id}")
    if trial.failure is not None:
        print(f"failed         {trial.failure.kind.value}: {trial.failure.message}")
    print(f"accuracy       {accuracy_text(trial, noise)} on the reward set")
    print(f"latency        {number(trial.latency_ms, 4)} ms, measured")
    for name, latency_ms in trial.other_latencies_ms.items():
        print(f"               {number(latency_ms, 4)} ms on {name}")
    print(f"reward         {number(trial.reward, digits(reward_error(trial, noise), most=8))}")
    print(f"parameters     {counted.trainable_params:,}")
    print(f"multiply-adds  {counted.multiply_adds:,}")
    print(f"architecture   stem {architecture.stem_filters}, head {architecture.head_filters}")
    for block in architecture.blocks:
        print(f"               {format_block(block)}")
