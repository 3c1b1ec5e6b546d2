"""What people see while a search runs, on standard error: a live line on a terminal, a line per trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar

from mnas.cli.duration import duration
from mnas.cli.output import number
from mnas.documents.foreign_text import printable
from mnas.first_experiment import norm_momentum_note
from mnas.search.driver import Progress
from mnas.search.halving import stopped_text
from mnas.search.store import Trial
from mnas.training.settings import TrainingSettings

COLUMNS = (
    SpinnerColumn(),
    MofNCompleteColumn(),
    BarColumn(bar_width=8),
    TextColumn("{task.description}"),
    TextColumn("{task.fields[best]}"),
    TextColumn("{task.fields[left]}"),
)


class SearchProgress:
    """Prints finished trials and keeps a bar with counts, busy workers, the best so far and the time left.

    Without a terminal there is no bar, and each line begins with the number of ended trials and the time.
    """

    def __init__(self, console: Console, bar: Bar, norm_momentum: float | None) -> None:
        self._console = console
        self._bar = bar
        self._norm_momentum = norm_momentum
        self._task = bar.add_task("starting", total=None, best="", left="")
        self._started = time.monotonic()
        self._ended_before: int | None = None
        self._ended, self._total = 0, 0
        self._notice = ""
        if not console.is_terminal:
            self._print("mnas: loading the images and starting the workers")

    def trial_finished(self, trial: Trial) -> None:
        """Print one line about a trial."""
        self._note_norm_momentum(trial)
        self._ended += 1
        stand = f"{self._ended:>4} of {self._total}  {duration(time.monotonic() - self._started):>5}  "
        self._print(("" if self._console.is_terminal else stand) + trial_line(trial))

    def progress(self, progress: Progress) -> None:
        """Update the bar."""
        self._ended = progress.complete + progress.stopped + progress.failed
        self._total = progress.total
        ended = self._ended
        if self._ended_before is None:
            self._ended_before = ended
            if progress.given_back:
                trials = "1 trial that" if progress.given_back == 1 else f"{progress.given_back} trials that"
                self._print(f"mnas: {trials} failed through no fault of the networks: tried again")
        if progress.notice != self._notice:
            self._notice = progress.notice
            waits = f"; waiting for {progress.pending} pending" if progress.pending else ""
            self._print(f"mnas: {progress.notice}{waits}" if progress.notice else "mnas: goes on")
        seconds_left = time_left_s(ended - self._ended_before, progress.total - ended, time.monotonic() - self._started)
        best = progress.best
        self._bar.update(
            self._task,
            total=progress.total,
            completed=ended,
            description=f"{progress.workers_busy}/{progress.workers} busy, {progress.failed} failed",
            best="" if best is None else f"best {best.reward:.4f} ({best.id})",
            left="" if seconds_left is None else f"about {duration(seconds_left)} left",
        )

    def _note_norm_momentum(self, trial: Trial) -> None:
        """Say once, at the first child that was trained, if its batch norms had too few steps."""
        if trial.training is None or self._norm_momentum is None:
            return
        if note := norm_momentum_note(self._norm_momentum, trial.training["steps"]):
            self._print(f"mnas: {note}")
        self._norm_momentum = None

    def _print(self, text: str) -> None:
        self._console.print(printable(text), highlight=False, markup=False, soft_wrap=True)


@contextmanager
def search_progress(training: TrainingSettings) -> Iterator[SearchProgress]:
    """Show progress for as long as the context lasts; `training` is that of the children."""
    console = Console(stderr=True)
    with Bar(*COLUMNS, console=console, disable=not console.is_terminal, transient=True) as bar:
        # With `norm_batches` the moving statistics are not evaluated.
        yield SearchProgress(console, bar, None if training.norm_batches else training.norm_momentum)


def trial_line(trial: Trial) -> str:
    """Return what is printed when a trial ends."""
    if trial.failure is not None:
        return f"trial {trial.id:>4}  failed: {trial.failure.kind.value}: {trial.failure.message}"
    same = "" if trial.repeat_of is None else f"  same network as trial {trial.repeat_of}"
    stopped = f"  ({stopped_text(trial)})" if trial.state == "stopped" and not same else ""
    others = "".join(f"  {name} {latency_ms:.4f} ms" for name, latency_ms in trial.other_latencies_ms.items())
    return (
        f"trial {trial.id:>4}  accuracy {number(trial.accuracy, 4)}  latency {trial.latency_ms:.4f} ms{others}  "
        f"reward {number(trial.reward, 4)}{same}{stopped}"
    )


def time_left_s(ended_now: int, remaining: int, elapsed_s: float) -> float | None:
    """Return the time that `remaining` trials take at the pace of this session, None before the first has ended."""
    if ended_now < 1:
        return None
    return max(0, remaining) * elapsed_s / ended_now
