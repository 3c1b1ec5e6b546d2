"""When a slot replaces its worker, and when the replacement starts; Ray is a stand-in that starts nothing."""

from typing import Any

import pytest
import ray

from mnas.errors import Failure, FailureKind
from mnas.mindspore_setup import Compute, Device
from mnas.training.settings import TrainingSettings
from mnas.workers import slot as slot_module
from mnas.workers.slot import WorkerSlot
from mnas.workers.worker import ChildJob, Reply, WorkerSettings
from search_space import reference

JOB = ChildJob(reference("mnasnet-a1").architecture, 0)
OUTCOME = Failure(FailureKind.TRAINING_DIVERGED, "as arranged")


class Worker:
    """Answers with the next reply of a list that all workers share."""

    def __init__(self, replies: list[Reply]) -> None:
        self._replies = replies
        self.stopped = False

    def train(self, job: ChildJob, timeout_s: float, *, on_cpu: bool) -> Reply:
        return self._replies.pop(0)

    def stop(self) -> None:
        self.stopped = True

    def state(self) -> str:
        return "loading"

    def take_over(self) -> None:
        """Nothing to take."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """The workers in the order of their start."""
    monkeypatch.setattr(slot_module, "placement_group", lambda bundles, **_: bundles)
    monkeypatch.setattr(slot_module, "PlacementGroupSchedulingStrategy", lambda *_, **__: None)
    monkeypatch.setattr(ray, "remote", lambda **_: lambda actor: actor)
    return []


def open_slot(
    started: list[Worker], monkeypatch: pytest.MonkeyPatch, device: Device, replies: list[Reply], **settings: Any
) -> WorkerSlot:
    def start(slot: WorkerSlot) -> Worker:
        assert device == "CPU" or all(worker.stopped for worker in started)
        started.append(Worker(replies))
        return started[-1]

    monkeypatch.setattr(WorkerSlot, "_start", start)
    training = TrainingSettings(epochs=1, batch_size=64, learning_rate=0.01)
    compute = Compute.of_worker(device)
    return WorkerSlot(None, WorkerSettings(training, compute, 60.0, 1000.0, **settings), ["node"])


def train(slot: WorkerSlot, times: int) -> None:
    for _ in range(times):
        assert slot.train(JOB) is OUTCOME


@pytest.mark.parametrize(
    ("reply", "workers"),
    [
        (Reply(OUTCOME, 100.0), 1),
        (Reply(OUTCOME, 1001.0), 2),
        (Reply(OUTCOME, 950.0), 1),
        (Reply(OUTCOME, 100.0, device_share=0.19), 1),
        (Reply(OUTCOME, 100.0, device_share=0.21), 2),
    ],
)
def test_an_npus_worker_is_replaced_by_memory_of_host_or_device_after_it_has_ended(
    started: list[Worker], monkeypatch: pytest.MonkeyPatch, reply: Reply, workers: int
) -> None:
    train(open_slot(started, monkeypatch, "Ascend", [reply]), 1)
    assert len(started) == workers


def test_a_cpus_replacement_starts_while_the_worker_goes_on(
    started: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(open_slot(started, monkeypatch, "CPU", [Reply(OUTCOME, 950.0)]), 1)
    assert [worker.stopped for worker in started] == [False, False]


def test_a_worker_is_replaced_after_its_number_of_children(
    started: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(open_slot(started, monkeypatch, "Ascend", [Reply(OUTCOME, 100.0)] * 5, max_children=2), 5)
    assert [worker.stopped for worker in started] == [True, True, False]
