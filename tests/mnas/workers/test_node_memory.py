"""A node that Ray's memory monitor takes for full: every worker there is ended."""

from collections.abc import Iterator

import msgspec
import pytest

from mnas.data import DigitsSettings
from mnas.errors import FailureKind, TrialError
from mnas.experiment import SearchSettings
from mnas.training.settings import TrainingSettings
from mnas.workers.cluster import ray_cluster
from mnas.workers.pool import ChildPool
from search_space import Architecture, parse_block

SMALL = Architecture((parse_block("r1_k3_s22_e1_i8_o8"),), stem_filters=8, stem_stride=2, head_filters=16)
SETTINGS = msgspec.convert({"trials": 1, "workers": 1, "retries": 1}, SearchSettings)


@pytest.fixture
def full_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "50")
    with ray_cluster(SETTINGS):
        yield


def test_a_child_that_a_full_node_ends_is_not_to_blame(full_node: None) -> None:
    data = DigitsSettings(image_size=16, reward_images=100, train_images=256).load_search()
    training = TrainingSettings(epochs=1000, batch_size=64, learning_rate=0.01)
    pool = ChildPool(data, training, SETTINGS, "CPU", workers=1)
    with pytest.raises(TrialError) as caught:
        pool.submit(SMALL, 0).result(120)
    pool.pids()  # a quiet window asks for them, whatever became of the workers
    pool.close()
    assert caught.value.failure.kind is FailureKind.NODE_MEMORY
