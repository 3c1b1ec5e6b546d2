"""What becomes of a search whose Ray is lost; the searches here are arranged."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mnas.errors import ClusterLostError
from mnas.experiment import Experiment
from mnas.search import launch
from mnas.search.launch import MAX_FRUITLESS_RESTARTS, with_restarts
from tests.mnas.search.test_own_parts import WITH_FINALISTS, OwnMeter, OwnTrainer


class ArrangedSearch:
    """Loses its Ray so often, with so many trials that end before each loss."""

    def __init__(self, losses: int, trials_between: int, *, restartable: bool = True) -> None:
        self._losses, self._trials_between, self._restartable = losses, trials_between, restartable
        self.starts = 0
        self.ended = 0

    def run(self) -> None:
        self.starts += 1
        self.ended += self._trials_between
        if self.starts <= self._losses:
            raise ClusterLostError("Ray's raylet ended unexpectedly", restartable=self._restartable)


def test_a_ray_of_our_own_is_started_again_and_said(caplog: pytest.LogCaptureFixture) -> None:
    search = ArrangedSearch(losses=1, trials_between=0)
    with_restarts(search.run, lambda: search.ended)
    assert search.starts == 2
    assert caplog.messages == ["mnas: Ray's raylet ended unexpectedly; starting Ray again and going on"]


def test_a_long_search_may_lose_its_ray_often() -> None:
    search = ArrangedSearch(losses=10, trials_between=1)
    with_restarts(search.run, lambda: search.ended)
    assert search.starts == 11


def test_a_ray_that_is_lost_again_and_again_ends_the_search() -> None:
    search = ArrangedSearch(losses=100, trials_between=0)
    with pytest.raises(ClusterLostError):
        with_restarts(search.run, lambda: search.ended)
    assert search.starts == MAX_FRUITLESS_RESTARTS + 1


def test_a_cluster_of_somebody_else_is_not_started_again() -> None:
    search = ArrangedSearch(losses=1, trials_between=1, restartable=False)
    with pytest.raises(ClusterLostError):
        with_restarts(search.run, lambda: search.ended)
    assert search.starts == 1


def test_finalists_are_timed_without_the_latency_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caches = []

    @contextmanager
    def open_workplace(experiment: Experiment, *_: Any) -> Iterator[launch._Workplace]:
        caches.append(experiment.latency.cache)
        yield launch._Workplace(OwnTrainer(), OwnMeter(), workers=lambda: 2)

    monkeypatch.setattr(launch, "_open_workplace", open_workplace)
    run = WITH_FINALISTS.run(tmp_path / "run")
    assert (caches, len(run.finalists()), run.experiment.latency.cache) == ([True, False], 3, True)
