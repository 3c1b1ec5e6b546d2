"""The curves of a search for TensorBoard, in its run directory.

The store is the truth: each session of a search writes the curves of all ended trials again, so that whatever stopped
the session before, they are those of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mnas.search.driver import Progress, SearchObserver
from mnas.search.store import Trial
from mnas.tensorboard import TensorBoardFile

TENSORBOARD_FOLDER = "tensorboard"


@dataclass(frozen=True)
class Point:
    """The numbers of one trial that has ended.

    Attributes:
        step: How many trials have ended by then.
        at_s: When it ended, in seconds since 1970.
        values: The numbers that are known, by the names of the curves.
    """

    step: int
    at_s: float
    values: dict[str, float]


class Curves:
    """Makes points of the trials that end, in the order in which they are given."""

    def __init__(self) -> None:
        self._ended = self._failed = 0
        self._best: float | None = None

    def earlier(self, trials: Iterable[Trial]) -> list[Point]:
        """Return the points of those trials that have ended, in order of their ends."""
        ended = (trial for trial in trials if trial.state != "proposed")
        return [self.point(trial) for trial in sorted(ended, key=lambda one: (one.finished_at or "", one.id))]

    def point(self, trial: Trial) -> Point:
        """Return the point of a trial."""
        self._ended += 1
        self._failed += trial.state == "failed"
        if trial.state == "complete" and trial.reward is not None:
            self._best = trial.reward if self._best is None else max(self._best, trial.reward)
        values = {
            "search/trial": trial.id,
            "search/failed": self._failed,
            "search/reward": trial.reward,
            "search/best_reward": self._best,
            "search/accuracy": trial.accuracy,
            "search/latency_ms": trial.latency_ms,
            **{f"search/latency_ms_{name}": latency_ms for name, latency_ms in trial.other_latencies_ms.items()},
            **_times(trial),
        }
        known = {name: value for name, value in values.items() if value is not None}
        return Point(self._ended, _end(trial), known)


class ScalarObserver:
    """Writes the numbers of each trial that ends."""

    def __init__(self, writer: TensorBoardFile, trials: Iterable[Trial]) -> None:
        """Write the trials that have ended before."""
        self._writer = writer
        self._curves = Curves()
        for point in self._curves.earlier(trials):
            self._write(point)
        writer.flush()

    def trial_finished(self, trial: Trial) -> None:
        """Write the numbers of a trial."""
        self._write(self._curves.point(trial))
        self._writer.flush()

    def progress(self, progress: Progress) -> None:
        """See `SearchObserver`."""

    def _write(self, point: Point) -> None:
        for name, value in point.values.items():
            self._writer.add_scalar(name, value, point.step, point.at_s)


class Observers:
    """Tells several observers, in their order."""

    def __init__(self, observers: Sequence[SearchObserver]) -> None:
        self._observers = observers

    def trial_finished(self, trial: Trial) -> None:
        """See `SearchObserver`."""
        for observer in self._observers:
            observer.trial_finished(trial)

    def progress(self, progress: Progress) -> None:
        """See `SearchObserver`."""
        for observer in self._observers:
            observer.progress(progress)


@contextmanager
def scalar_observer(directory: Path, trials: Iterable[Trial]) -> Iterator[ScalarObserver]:
    """Open the curves of a run directory for as long as the context lasts; earlier ones are replaced."""
    folder = directory / TENSORBOARD_FOLDER
    if folder.is_dir() and not folder.is_symlink():
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
    with closing(TensorBoardFile(folder)) as writer:
        yield ScalarObserver(writer, trials)


def _times(trial: Trial) -> dict[str, float]:
    phases = dict((trial.training or {}).get("phases") or {})
    times = {f"time/{name}_s": float(phase["wall_s"]) for name, phase in phases.items()}
    return {**times, "time/trial_s": _end(trial) - datetime.fromisoformat(trial.proposed_at).timestamp()}


def _end(trial: Trial) -> float:
    return datetime.fromisoformat(trial.finished_at or trial.proposed_at).timestamp()
