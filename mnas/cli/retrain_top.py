"""`mnas retrain RUN --top K`: the training of a run's best networks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mnas.bundled_files import find_recipe
from mnas.checkpoints.checkpoint import Accuracy
from mnas.cli.errors import DONE, FAILED, interrupted
from mnas.cli.interrupt import stop_cleanly
from mnas.cli.output import LateFile, number, print_json, print_table
from mnas.cli.training_lines import TrainingLines
from mnas.documents.foreign_text import printable
from mnas.errors import ConfigurationError
from mnas.retrain.top_table import TopNetwork, TopTable
from mnas.search.run import Run
from mnas.search.run_directory import is_run


def run_top(arguments: argparse.Namespace) -> int:
    """Run the command with --top."""
    if arguments.trial is not None or arguments.cards != 1 or arguments.width != 1.0:
        raise ConfigurationError(
            "--top trains the best networks as the search has found them, each on one device; leave out --trial, "
            "--cards and --width"
        )
    if arguments.from_run is not None or arguments.init is not None:
        raise ConfigurationError("--top draws the weights of each network; leave out --from and --init")
    run_directory = Path(arguments.architecture or "")
    if arguments.architecture is None or not is_run(run_directory):
        raise ConfigurationError(
            f"--top: {arguments.architecture or 'ARCH is missing'}: no run of a search; give its run directory"
        )
    found = Run.open(run_directory)
    recipe = find_recipe(arguments.recipe)
    name = f"{run_directory.resolve().name}-top{arguments.top}-{recipe.stem}"
    directory = arguments.run_dir or Path("runs") / name
    stop_cleanly()
    try:
        # Ray prints what happens to its workers on standard output, which is for the answer alone.
        with top_progress() as observer, redirect_stdout(LateFile(directory / "ray.log")):
            table = found.retrain_top(
                arguments.top,
                recipe,
                directory=directory,
                data=arguments.data,
                workers=arguments.workers,
                ray_address=arguments.ray_address,
                observer=observer,
            )
    except KeyboardInterrupt as interrupt:
        print("mnas: stopped; the same command goes on from the last checkpoints", file=sys.stderr)
        return interrupted(interrupt)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("search.ray_address", "--ray-address")) from error
    if arguments.json:
        print_json(table_to_dict(table, directory))
    else:
        print_result(table, directory)
    return FAILED if table.failed else DONE


class TopProgress:
    """Shows a line for each network that has ended, and how many epochs are done."""

    def __init__(self, console: Console, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task("loading the images, and starting Ray", total=None)
        self._lines = TrainingLines(console)
        self._networks = self._ended = self._epochs = 0

    def started(self, table: TopTable) -> None:
        """Say how much there is to do."""
        self._networks, self._ended = len(table.networks), len(table.networks) - len(table.pending)
        self._epochs = len(table.networks) * table.recipe.training.epochs
        self._bar.update(self._task, total=self._epochs, description="epochs")
        done = f"; {self._ended} have ended before" if self._ended else ""
        self._lines.print(f"{self._networks} networks of {table.recipe.training.epochs} epochs{done}")

    def progress(self, epochs: int) -> None:
        """Show how many epochs are done; without a terminal a line now and then."""
        self._bar.update(self._task, completed=epochs)
        if self._lines.is_due:
            self._lines.print(f"{epochs:,} of {self._epochs:,} epochs  {self._lines.elapsed}")

    def network_ended(self, network: TopNetwork) -> None:
        """Print a line."""
        self._ended += 1
        self._lines.print(
            f"{self._ended:>3} of {self._networks}  trial {network.trial:>4}  {_outcome(network)}  "
            f"{self._lines.elapsed}"
        )


@contextmanager
def top_progress() -> Iterator[TopProgress]:
    """Show progress on standard error for as long as the context lasts."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), BarColumn(bar_width=20), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield TopProgress(console, bar)


def _outcome(network: TopNetwork) -> str:
    if network.failure is not None:
        return f"failed ({network.failure.kind.value}): {network.failure.message}"
    return "" if network.full is None else f"top-1 {_percent(network.full.accuracy)}"


def _percent(accuracy: Accuracy | None) -> str:
    return "-" if accuracy is None else f"{100 * accuracy.top1:.2f}%"


def table_to_dict(table: TopTable, directory: Path) -> dict[str, Any]:
    """Return a table as the JSON output shows it."""
    winner = table.winner
    return {
        "run": table.run,
        "directory": str(directory),
        "target_ms": table.target_ms,
        "winner": None if winner is None else winner.trial,
        "winner_chosen_by": "test" if table.recipe.validation is None else "validation",
        "kendall_tau": table.kendall_tau,
        "networks": [_network_to_dict(network, directory) for network in table.networks],
        "notes": table.notes(),
    }


def _network_to_dict(network: TopNetwork, directory: Path) -> dict[str, Any]:
    full, failure = network.full, network.failure
    return {
        "trial": network.trial,
        "proxy_accuracy": network.proxy_accuracy,
        "latency_ms": network.latency_ms,
        "reward": network.reward,
        "meets_target": network.meets_target,
        "run": str(directory / network.folder),
        "top1": full and full.accuracy.top1,
        "top5": full and full.accuracy.top5,
        "loss": full and full.accuracy.loss,
        "images": full and full.accuracy.images,
        "validation_top1": full and full.validation and full.validation.top1,
        "checkpoint": full and str(directory / full.checkpoint),
        "failure": failure and {"kind": failure.kind.value, "message": failure.message},
    }


def print_result(table: TopTable, directory: Path) -> None:
    """Print a table for people: the networks, how far the search has told their order, and the winner."""
    validated = table.recipe.validation is not None
    header = ["trial", "proxy_accuracy", *(["validation_top1"] if validated else []), "top1", "latency_ms", "target"]
    rows = []
    for network in table.networks:
        full = network.full
        held_out = [_percent(None if full is None else full.validation)] if validated else []
        within = "met" if network.meets_target else "missed"
        top1 = "failed" if full is None else _percent(full.accuracy)
        rows.append(
            [network.trial, number(network.proxy_accuracy, 4), *held_out, top1, number(network.latency_ms, 4), within]
        )
    print_table(header, rows)
    for network in table.failed:
        print(f"trial {network.trial}  {printable(_outcome(network))}")
    trained = len(table.networks) - len(table.failed)
    tau = table.kendall_tau
    if tau is not None:
        print(f"Kendall's tau  {tau:.2f} between proxy_accuracy and top1 of {trained} networks")
    if (winner := table.winner) is not None and winner.full is not None:
        accuracy = winner.full.accuracy
        print(
            f"winner         trial {winner.trial}: top-1 {_percent(accuracy)} of {accuracy.images:,} test images, "
            f"{winner.latency_ms:.4f} ms, target {table.target_ms:g} ms"
        )
        print(f"checkpoint     {directory / winner.full.checkpoint}")
    for note in table.notes():
        print(note)
    print(f"run directory  {directory}")
