"""A real Ray cluster on this machine."""

import signal
from collections.abc import Iterator

import pytest
import ray

from mnas.errors import ConfigurationError
from mnas.experiment import SearchSettings
from mnas.workers.cluster import ray_cluster, worker_count


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster(SearchSettings(trials=1, workers=2)):
        yield


def test_auto_takes_every_core_of_the_cluster(cluster: None) -> None:
    assert worker_count(SearchSettings(trials=1), "CPU") >= 1


def test_npus_that_are_not_there_are_missed_at_once(cluster: None) -> None:
    with pytest.raises(ConfigurationError, match="NPU"):
        worker_count(SearchSettings(trials=1), "Ascend")


def test_npus_may_be_shared(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"NPU": 3.0})
    assert worker_count(SearchSettings(trials=1, workers_per_npu=2), "Ascend") == 6


def test_a_handler_of_sigterm_survives_the_start_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    # As Ray does: its own handler ends the process without a word.
    monkeypatch.setattr("ray.init", lambda **_: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    monkeypatch.setattr("ray.shutdown", lambda: None)
    try:
        with ray_cluster(SearchSettings(trials=1)):
            assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, before)
