"""Workers and phones of an audit that are arranged: every search gets them in place of Ray and the phones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mnas.data import SearchData
from mnas.errors import FailureKind, TrialError
from mnas.experiment import Experiment
from mnas.search import launch
from mnas.search.launch import OwnParts
from mnas.search.run import Run
from mnas.search.store import TrialStore
from search_space import Architecture, fingerprint, lower, multiply_adds

EXPERIMENT = Experiment.from_dict(
    {
        "space": "tiny16",
        "data": {"format": "digits", "image_size": 16, "reward_images": 100},
        "training": {"epochs": 4, "learning_rate": 0.01},
        "search": {"trials": 20, "workers": 2},
        "latency": {"target_ms": 0.5},
        "controller": {"name": "random"},
    }
)
TRAIN_S, COMPILE_S, CURVE_S = 6.0, 2.0, 100.0


def size_of(architecture: Architecture) -> float:
    """Return a number that is larger for networks with more multiply-adds, from 0 to 1."""
    counted = multiply_adds(lower(architecture, image_size=16, channels=1, num_classes=10))
    return counted / (counted + 300_000)


def accuracy_of(architecture: Architecture, experiment: Experiment, seed: int) -> float:
    """Return an accuracy that grows with the network; half as many images turn the order around."""
    grows = getattr(experiment.data, "train_images", None) is None
    size = size_of(architecture)
    return 0.3 + 0.5 * (size if grows else 1 - size) + (seed * 7919 % 97) / 1e7


class Arranged:
    """Workers and phones that are arranged.

    Attributes:
        trained: The folder of the search and the network of each training that was asked for.
        timed: The folder of the search and the network of each measurement.
    """

    def __init__(self, accuracy: Callable[[Architecture, Experiment, int], float] = accuracy_of) -> None:
        self.accuracy = accuracy
        self.failing: dict[str, FailureKind] = {}
        self.trained: list[tuple[str, str]] = []
        self.timed: list[tuple[str, str]] = []

    @contextmanager
    def open_workplace(
        self, experiment: Experiment, run: Run, store: TrialStore, data: SearchData, own: OwnParts
    ) -> Iterator[launch._Workplace]:
        assert not experiment.latency.cache
        place = run.directory
        yield launch._Workplace(_Trainer(self, experiment, place), own.latency or _Meter(self, place), lambda: 2)


class _Trainer:
    def __init__(self, arranged: Arranged, experiment: Experiment, place: Path) -> None:
        self._arranged, self._experiment, self._place = arranged, experiment, place

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        key = fingerprint(architecture)
        self._arranged.trained.append((self._place.name, key))
        if key in self._arranged.failing:
            raise TrialError(self._arranged.failing[key], "as arranged")
        training = self._experiment.training
        accuracy = self._arranged.accuracy(architecture, self._experiment, seed)
        seconds = {"import": 50.0, "compile": COMPILE_S, "train": TRAIN_S * training.epochs / 4}
        curve = []
        if self._experiment.search.learning_curves:
            seconds["learning_curve"] = CURVE_S
            curve = [accuracy * (epoch + 1) / training.epochs for epoch in range(training.epochs)]
        future: Future[Mapping[str, Any]] = Future()
        future.set_result(
            {
                "accuracy": accuracy,
                "steps": 100,
                "phases": {name: {"wall_s": wall_s, "cpu_s": wall_s} for name, wall_s in seconds.items()},
                "epoch_accuracies": curve,
            }
        )
        return future


class _Meter:
    def __init__(self, arranged: Arranged, place: Path) -> None:
        self._arranged, self._place = arranged, place

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        self._arranged.timed.append((self._place.name, fingerprint(architecture)))
        future: Future[Mapping[str, Any]] = Future()
        # Each search finds the same latencies a percent slower than the one before.
        slower = 1 + int(self._place.name.rpartition("-")[2]) / 100
        future.set_result({"latency_ms": size_of(architecture) * slower})
        return future


@pytest.fixture
def arranged(monkeypatch: pytest.MonkeyPatch) -> Arranged:
    arranged = Arranged()
    monkeypatch.setattr(launch, "_open_workplace", arranged.open_workplace)
    return arranged
