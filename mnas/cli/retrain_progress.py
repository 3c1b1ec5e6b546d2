"""What people see while a network is retrained, on standard error: a live line on a terminal, and a line per epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from mnas.checkpoints.checkpoint import Position
from mnas.cli.training_lines import TrainingLines
from mnas.retrain.logs import EpochRow
from mnas.training.phases import PhaseTime
from mnas.training.trainer import StepReport


class RetrainProgress:
    """Prints finished epochs and keeps a bar over all steps with loss, learning rate and speed.

    Without a terminal there is no bar, and a line is printed now and then, too.
    """

    def __init__(self, console: Console, bar: Bar, validated_on: str = "test") -> None:
        self._bar, self._validated_on = bar, validated_on
        self._task: TaskID = bar.add_task("loading and compiling", total=None)
        self._lines = TrainingLines(console)
        self._epochs, self._steps = 0, 0
        if not console.is_terminal:
            self._lines.print("mnas: loading the images, and building and compiling the network")

    def started(self, position: Position, epochs: int, steps_per_epoch: int, phases: dict[str, PhaseTime]) -> None:
        """Say what was compiled and where training begins."""
        seconds = {name: phase.wall_s for name, phase in phases.items()}
        where = "" if position.step == 0 else f"; resumed after step {position.step:,}, in epoch {position.epoch + 1}"
        self._lines.print(
            f"{epochs} epochs of {steps_per_epoch:,} steps; MindSpore loaded in {seconds['import']:.1f} s, network "
            f"built in {seconds['build']:.1f} s and compiled in {seconds['compile']:.1f} s{where}"
        )
        self._epochs, self._steps = epochs, epochs * steps_per_epoch
        self._bar.update(self._task, total=self._steps, completed=position.step, description="training")

    def stepped(self, report: StepReport, images_per_s: float, ms_per_step: float) -> None:
        """Update the bar."""
        self._bar.update(
            self._task,
            completed=report.step + 1,
            description=f"loss {report.loss:.4f}  lr {report.learning_rate:.3g}  {images_per_s:,.0f} img/s  "
            f"{ms_per_step:,.0f} ms/step",
        )
        if self._lines.is_due:
            self._lines.print(
                f"step {report.step + 1:,} of {self._steps:,}  {self._lines.elapsed}  loss {report.loss:.4f}"
            )

    def epoch_finished(self, row: EpochRow) -> None:
        """Print one line about an epoch."""
        self._lines.print(f"{epoch_line(row, self._epochs, self._validated_on)}  {self._lines.elapsed}")


@contextmanager
def retrain_progress(*, quiet: bool, validated_on: str) -> Iterator[RetrainProgress]:
    """Show progress for as long as the context lasts.

    Args:
        quiet: Show nothing; so in all processes but the first.
        validated_on: What the epochs are validated on: "test" or "validation".
    """
    console = Console(stderr=True, quiet=quiet)
    columns = (
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        yield RetrainProgress(console, bar, validated_on)


def epoch_line(row: EpochRow, epochs: int, validated_on: str = "test") -> str:
    """Return what is printed when an epoch ends."""
    test = "" if row.top1 is None else f"  top-1 {100 * row.top1:.2f}%  {validated_on} loss {row.loss:.4f}"
    return (
        f"epoch {row.epoch:>3} of {epochs}  loss {row.train_loss:.4f}{test}  lr {row.learning_rate:.3g}  "
        f"{row.images_per_s:,.0f} img/s  {row.ms_per_step:,.0f} ms/step"
    )
