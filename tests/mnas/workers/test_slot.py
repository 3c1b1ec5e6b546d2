"""Where Ray puts the workers of NPUs: a cluster that claims to have two, which no worker here can use."""

import time
from collections.abc import Iterator

import pytest
import ray

from mnas.data import DigitsSettings
from mnas.mindspore_setup import Compute
from mnas.training.settings import TrainingSettings
from mnas.workers.slot import WorkerSlot
from mnas.workers.worker import WorkerSettings


@pytest.fixture(scope="module")
def npus() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, resources={"NPU": 2}, include_dashboard=False, logging_level="ERROR")
    yield
    ray.shutdown()


def free_npus() -> float:
    return float(ray.available_resources().get("NPU", 0.0))


def wait_for_free_npus(count: float) -> None:
    deadline = time.monotonic() + 30
    while abs(free_npus() - count) > 1e-6:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("workers_per_npu", "slots", "free"), [(1, 2, 0), (2, 2, 1), (3, 6, 2 - 6 * 0.3332)])
def test_a_slot_takes_its_share_of_an_npu_until_it_is_closed(
    npus: None, workers_per_npu: int, slots: int, free: float
) -> None:
    data = DigitsSettings(image_size=16, reward_images=100, train_images=256).load_search()
    settings = WorkerSettings(
        training=TrainingSettings(epochs=1, batch_size=64, learning_rate=0.01),
        compute=Compute.of_worker("Ascend"),
        child_timeout_s=60,
        memory_mb=1e6,
        workers_per_npu=workers_per_npu,
    )
    nodes = [node["NodeID"] for node in ray.nodes()]
    opened = [WorkerSlot(data, settings, nodes) for _ in range(slots)]
    wait_for_free_npus(free)
    for slot in opened:
        slot.close()
    wait_for_free_npus(2)
