"""The pool on a real Ray cluster whose nodes, or other searches, come and go; its children sleep."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import ray
from ray.cluster_utils import Cluster

from experiments.benchmarks.stand_in_worker import StandInWorker
from mnas.data import DigitsSettings
from mnas.experiment import SearchSettings
from mnas.training.settings import TrainingSettings
from mnas.workers.nodes import check_nodes
from mnas.workers.pool import ChildPool
from search_space import Architecture, parse_block
from tests.ray_processes import processes_named

NETWORK = Architecture((parse_block("r1_k3_s22_e1_i8_o8"),), stem_filters=8, stem_stride=2, head_filters=16)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without a core; pools of workers that sleep look at it often."""
    monkeypatch.setattr("mnas.workers.slot.ChildWorker", StandInWorker)
    monkeypatch.setattr("mnas.workers.pool.NODES_EVERY_S", 0.2)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    health = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_timeout_ms": 1500}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": health}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.connect()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def open_pool(**options: Any) -> ChildPool:
    """Open a pool of workers whose children sleep for a quarter of a second."""
    data = DigitsSettings(image_size=16, reward_images=100, train_images=256).load_search()
    settings = msgspec.convert({"trials": 1, "retries": 1}, SearchSettings)
    training = TrainingSettings(epochs=1, batch_size=64, learning_rate=0.01)
    return ChildPool(data, training, settings, "CPU", None, **options)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_child_is_lost_while_nodes_come_and_go_and_a_worker_is_killed(cluster: Any) -> None:
    first = cluster.add_node(num_cpus=1)
    pool = open_pool(check=check_nodes([], "CPU"))
    futures = [pool.submit(NETWORK, seed) for seed in range(16)]
    futures[0].result(30)
    second = cluster.add_node(num_cpus=1)
    until(lambda: pool.workers() == 2)
    until(lambda: len(slots := pool._dispatcher.slots()) == 2 and all(slot.places() for slot in slots))
    futures += [pool.submit(NETWORK, seed) for seed in range(16, 32)]
    (killed,) = [pid for slot in pool._dispatcher.slots() for node, pid in slot.places() if node == second.node_id]
    os.kill(killed, signal.SIGKILL)
    cluster.remove_node(first, allow_graceful=False)
    nodes = {node for future in futures for node in future.result(30)["phases"]}
    until(lambda: pool.workers() == 1)
    pool.close()
    assert nodes == {first.node_id, second.node_id}
    until(lambda: not processes_named("StandInWorker"))


def test_a_second_search_gets_its_share_while_the_first_has_work_and_leaves_it_again(cluster: Any) -> None:
    cluster.add_node(num_cpus=2)
    first = open_pool(shared_as="first")
    futures = [first.submit(NETWORK, seed) for seed in range(500)]  # for a minute at least
    futures[0].result(30)
    second = open_pool(shared_as="second")
    assert second.submit(NETWORK, 0).result(30)
    assert (first.workers(), second.workers()) == (1, 1)
    assert not all(future.done() for future in futures)
    second.close()
    until(lambda: [slot.node() is None for slot in first._dispatcher.slots()] == [False, False])
    for future in futures:
        future.cancel()
    assert {future.exception(30) for future in futures if not future.cancelled()} == {None}
    first.close()
    until(lambda: not ray.util.list_named_actors(all_namespaces=True))
