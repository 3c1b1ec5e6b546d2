"""`mnas search EXPERIMENT`."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from mnas.bundled_files import find_experiment
from mnas.cli.best import print_finalist, print_trial
from mnas.cli.errors import DONE, interrupted
from mnas.cli.interrupt import stop_cleanly
from mnas.cli.options import add_experiment, path
from mnas.cli.output import LateFile, print_json, trial_to_dict
from mnas.cli.progress import search_progress
from mnas.documents.foreign_text import printable
from mnas.documents.yaml_file import parse
from mnas.errors import ClusterLostError, ConfigurationError, DataError, DocumentError
from mnas.experiment import Experiment
from mnas.search.driver import SearchObserver
from mnas.search.run import Run

_DESCRIPTION = """\
Carry out a search, or resume it: the same command on the same run directory
goes on where it stopped, whatever stopped it. Standard output gets the best
architecture. A larger search.trials continues a finished search.
"""
_EPILOG = """\
examples:
  mnas search quickstart
  mnas init cifar10 --to my_search.yaml              # a copy to edit
  mnas search my_search.yaml --run-dir runs/second-try
  mnas search quickstart --set search.trials=60 --set latency.target_ms=0.05

bundled experiments: cifar10, imagenet_ascend, paper/cifar10_cell,
  paper/cifar10_cell_single, paper/cifar10_hard, paper/cifar10_soft,
  paper/imagenet_cell, paper/imagenet_cell_single, paper/imagenet_hard,
  paper/imagenet_soft, phone_quickstart, quickstart
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], summary: str) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "search",
        help=summary,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_experiment(parser)
    parser.add_argument("--run-dir", type=path, help="where the run is kept (default: runs/ and the experiment's name)")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a value of the experiment, as in --set search.trials=60; again for more",
    )
    parser.add_argument(
        "--track",
        metavar="NAME",
        choices=("mlflow", "wandb"),
        action="append",
        default=[],
        help="send the numbers of each trial to mlflow or wandb (Weights & Biases), as they are set up here",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    path = find_experiment(arguments.experiment)
    experiment = Experiment.load(path)
    if arguments.set:
        changes = dict(change(text) for text in arguments.set)
        with options_named(changes):
            experiment = experiment.changed(changes)
    directory = arguments.run_dir or Path("runs") / path.stem

    stop_cleanly()
    try:
        # Ray prints what happens to its workers on standard output, which is for the answer alone.
        with (
            options_named(key for key, _ in map(change, arguments.set)),
            search_progress(experiment.training) as progress,
            redirect_stdout(LateFile(directory / "ray.log")),
            _with_trackers(progress, arguments.track, experiment, directory) as observer,
        ):
            found = experiment.run(directory, observer=observer)
    except KeyboardInterrupt as interrupt:
        print(f"mnas: stopped; nothing is lost. To go on: {printable(_same_command(arguments))}", file=sys.stderr)
        return interrupted(interrupt)
    except ClusterLostError as error:
        remedy = f"Nothing that was finished is lost. Start the cluster again; to go on: {_same_command(arguments)}"
        raise ClusterLostError(f"{error}. {remedy}", restartable=False) from error
    _print_result(found, as_json=arguments.json)
    return DONE


@contextmanager
def _with_trackers(
    progress: SearchObserver, names: list[str], experiment: Experiment, directory: Path
) -> Iterator[SearchObserver]:
    if not names:
        yield progress
        return
    # Here, because it loads the trackers.
    from mnas.search.scalars import Observers
    from mnas.search.trackers import tracking_observers

    with tracking_observers(names, experiment, directory) as trackers:
        yield Observers([progress, *trackers])


def _same_command(arguments: argparse.Namespace) -> str:
    run_dir = ["--run-dir", str(arguments.run_dir)] if arguments.run_dir else []
    changes = [word for text in arguments.set for word in ("--set", text)]
    tracked = [word for name in arguments.track for word in ("--track", name)]
    return shlex.join(["mnas", "search", arguments.experiment, *run_dir, *changes, *tracked])


def change(text: str) -> tuple[str, object]:
    """Return key and value of `--set KEY=VALUE`; the value is read as YAML is."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ConfigurationError(f"--set {text}: write KEY=VALUE, as in --set search.trials=60")
    return key, parse(value, object, source=f"--set {key}")


@contextmanager
def options_named(keys: Iterable[str]) -> Iterator[None]:
    """Let errors about a key that --set has changed name the option: the key is not in the user's file."""
    try:
        yield
    except (ConfigurationError, DocumentError, DataError) as error:
        message = str(error).removeprefix("experiment: ")
        named = re.match(r"'?([\w.]+)", message)
        if named is None or not any(_is_about(named[1], key) for key in keys):
            raise
        raise type(error)(f"--set {message}") from error


def _is_about(named: str, key: str) -> bool:
    """Return whether the key that a message names is `key`, a part of it, or the mapping that it is in."""
    return named == key or named.startswith(f"{key}.") or key.startswith(f"{named}.") or key.endswith(f".{named}")


def _print_result(found: Run, *, as_json: bool) -> None:
    best, counts = found.best(), found.counts()
    complete, stopped, failed = counts["complete"], counts["stopped"], counts["failed"]
    finalists = found.finalists()
    if as_json:
        winner = finalists[0].to_dict() if finalists else None
        files = {"run": str(found.directory), "best": trial_to_dict(best), "best_file": str(found.best_file)}
        numbers = {"complete": complete, "stopped": stopped, "failed": failed}
        print_json({**files, "finalist": winner, **numbers, "notes": found.notes()})
        return
    stopped_early = f", {stopped} stopped early" if stopped else ""
    print(f"{complete} trials complete{stopped_early}, {failed} failed; the best:")
    print_trial(best, found.image_form, found.noise)
    if finalists:
        print_finalist(finalists[0], len(finalists))
    for note in found.notes():
        print(note)
    print(f"run directory  {found.directory}")
    print(f"written to     {found.best_file}")
