"""A real Ray cluster on this machine."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
import ray

from mnas.errors import ClusterLostError, ConfigurationError
from mnas.experiment import SearchSettings
from mnas.workers.cluster import Cluster, _PortWatch, _processes_gone, ray_cluster, worker_count


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


def test_a_process_that_has_ended_is_missed_and_named() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        watched = psutil.Process(process.pid)
        cluster = Cluster(_processes_gone([watched]), ours=True)
        cluster.check()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie, as under a parent that does not look
        with pytest.raises(ClusterLostError, match="ended unexpectedly") as caught:
            cluster.check()
    assert caught.value.restartable


def test_a_port_that_falls_silent_is_missed_after_a_while() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    watch = _PortWatch({"head (GCS)": server.getsockname()}, period_s=0.01, patience_s=0.1)
    cluster = Cluster(watch.missing, ours=False)
    cluster.check()
    server.close()
    deadline = time.monotonic() + 10
    while not cluster.is_lost():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(ClusterLostError, match=r"head \(GCS\) at 127\.0\.0\.1:\d+ does not answer") as caught:
        cluster.check()
    assert not caught.value.restartable


class ArrangedWorkers:
    """Workers whose end takes until an event; they note what was asked of them."""

    def __init__(self, ends: threading.Event) -> None:
        self.asked: list[str] = []
        self._ends = ends

    def close(self) -> None:
        self.asked.append("close")
        self._ends.wait(10)

    def give_up(self) -> None:
        self.asked.append("give up")


def test_workers_are_ended_before_their_cluster_is_left() -> None:
    ends = threading.Event()
    ends.set()
    workers = ArrangedWorkers(ends)
    Cluster(lambda: None, ours=True).leave(workers)
    assert workers.asked == ["close"]


def test_workers_of_a_lost_cluster_are_given_up() -> None:
    workers = ArrangedWorkers(threading.Event())
    Cluster(lambda: "Ray's raylet ended unexpectedly", ours=True).leave(workers)
    assert workers.asked == ["give up"]


def test_workers_of_a_cluster_that_is_lost_while_they_end_are_given_up() -> None:
    ends = threading.Event()
    workers = ArrangedWorkers(ends)
    Cluster(lambda: "Ray's raylet ended unexpectedly" if workers.asked else None, ours=True).leave(workers)
    ends.set()
    assert workers.asked == ["close", "give up"]
