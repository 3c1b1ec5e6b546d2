"""How often a child is tried and who is blamed, on workers that fail as arranged."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnas.errors import Failure, FailureKind, TrialError
from mnas.workers.attempts import (
    DOUBTFUL,
    DOUBTFUL_ON,
    LOST_WORKER,
    NodeTurns,
    ProcessUse,
    timeout_failure,
    train_on,
)
from mnas.workers.child import ChildResult
from mnas.workers.worker import ChildJob
from search_space import Architecture, parse_block

JOB = ChildJob(Architecture((parse_block("r1_k3_s22_e1_i8_o8"),), stem_filters=8, stem_stride=2, head_filters=16), 0)
RESULT = ChildResult(accuracy=0.5, loss=1.0, train_loss=1.0, steps=1, images_per_s=1.0, phases={}, resident_mb=1.0)
RETURNED = {FailureKind.TRAINING_DIVERGED, FailureKind.OUT_OF_MEMORY, FailureKind.INTERNAL}


class ArrangedSlot:
    """A worker whose tries end as arranged, then with a result; `workers` are those that the tries had."""

    def __init__(self, outcomes: Sequence[FailureKind]) -> None:
        self._outcomes = list(outcomes)
        self._worker = 0
        self.workers: list[int] = []

    def prepare(self) -> str:
        return "node"

    def train(self, job: ChildJob) -> ChildResult | Failure:
        self.workers.append(self._worker)
        if not self._outcomes:
            return RESULT
        kind = self._outcomes.pop(0)
        if kind in RETURNED:
            return Failure(kind, "as arranged")
        raise TrialError(kind, "as arranged")

    def replace(self) -> None:
        self._worker += 1


def blamed(slot: ArrangedSlot, retries: int = 2, doubtful: frozenset[FailureKind] = DOUBTFUL) -> FailureKind | None:
    try:
        train_on(slot, JOB, retries, NodeTurns(), threading.Event(), doubtful)
    except TrialError as error:
        return error.failure.kind
    return None


@pytest.mark.parametrize("kind", sorted(DOUBTFUL | LOST_WORKER, key=str))
def test_a_failure_that_may_not_be_the_networks_is_tried_on_a_fresh_worker(kind: FailureKind) -> None:
    slot = ArrangedSlot([kind])
    assert blamed(slot) is None
    assert slot.workers == [0, 1]


@pytest.mark.parametrize("kind", sorted(DOUBTFUL, key=str))
@pytest.mark.parametrize("retries", [0, 5])
def test_a_second_failure_of_memory_or_time_decides(kind: FailureKind, retries: int) -> None:
    slot = ArrangedSlot([kind] * 9)
    assert blamed(slot, retries) is kind
    assert slot.workers == [0, 1]


@pytest.mark.parametrize("kind", [FailureKind.TRAINING_DIVERGED, FailureKind.INTERNAL])
def test_a_certain_failure_is_not_tried_again(kind: FailureKind) -> None:
    slot = ArrangedSlot([kind])
    assert blamed(slot) is kind
    assert slot.workers == [0]


@pytest.mark.parametrize("kind", sorted(RETURNED | DOUBTFUL | LOST_WORKER, key=str))
def test_on_an_npu_only_a_divergence_leaves_the_worker_as_it_is(kind: FailureKind) -> None:
    slot = ArrangedSlot([kind])
    blamed(slot, doubtful=DOUBTFUL_ON["Ascend"])
    assert slot._worker == (0 if kind is FailureKind.TRAINING_DIVERGED else 1)


def test_on_an_npu_an_internal_error_gets_one_more_try() -> None:
    slot = ArrangedSlot([FailureKind.INTERNAL])
    assert blamed(slot, doubtful=DOUBTFUL_ON["Ascend"]) is None
    slot = ArrangedSlot([FailureKind.INTERNAL] * 3)
    assert blamed(slot, doubtful=DOUBTFUL_ON["Ascend"]) is FailureKind.INTERNAL
    assert slot.workers == [0, 1]


@given(st.lists(st.sampled_from(FailureKind), max_size=12), st.integers(0, 4))
def test_tries_are_bounded_and_the_network_is_blamed_for_time_or_memory_after_two(
    outcomes: list[FailureKind], retries: int
) -> None:
    slot = ArrangedSlot(outcomes)
    kind = blamed(slot, retries)
    assert len(slot.workers) <= retries + 2
    assert kind == (outcomes[len(slot.workers) - 1] if len(slot.workers) <= len(outcomes) else None)
    if kind in DOUBTFUL:
        assert sum(outcome in DOUBTFUL for outcome in outcomes[: len(slot.workers)]) == 2


def test_a_result_says_when_its_last_try_started() -> None:
    started: list[datetime] = []

    class SlowSlot(ArrangedSlot):
        def train(self, job: ChildJob) -> ChildResult | Failure:
            started.append(datetime.now(timezone.utc))
            time.sleep(0.005)
            return super().train(job)

    _, began_at = train_on(SlowSlot([FailureKind.WORKER_DIED]), JOB, 1, NodeTurns(), threading.Event())
    before, last = started
    assert before < datetime.fromisoformat(began_at) <= last


def test_no_try_follows_when_the_pool_closes() -> None:
    slot, closing = ArrangedSlot([FailureKind.WORKER_DIED]), threading.Event()
    closing.set()
    with pytest.raises(TrialError):
        train_on(slot, JOB, 2, NodeTurns(), closing)
    assert slot.workers == []


def test_a_doubted_child_trains_alone_on_its_node() -> None:
    turns, together, alone, most = NodeTurns(), set[int](), set[int](), [0]
    lock = threading.Lock()

    def train(number: int) -> None:
        wants_alone = number % 3 == 0
        with turns.turn("node", alone=wants_alone):
            with lock:
                (alone if wants_alone else together).add(number)
                assert len(alone) <= 1
                assert not (alone and together)
                most[0] = max(most[0], len(together))
            threading.Event().wait(0.002)
            with lock:
                (alone if wants_alone else together).discard(number)

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(train, number) for number in range(60)]:
            future.result(60)
    assert most[0] > 1


def test_a_child_alone_on_its_node_holds_no_other_node_back() -> None:
    turns = NodeTurns()
    with turns.turn("first", alone=True), ThreadPoolExecutor(1) as threads:

        def train() -> str:
            with turns.turn("second", alone=False):
                return "trained"

        assert threads.submit(train).result(60) == "trained"


@pytest.mark.parametrize(
    ("use", "on_cpu", "kind"),
    [
        (ProcessUse(stopped=False, cpu_s=108.0), True, FailureKind.CHILD_TIMEOUT),
        (ProcessUse(stopped=True, cpu_s=108.0), True, FailureKind.WORKER_HUNG),
        (ProcessUse(stopped=False, cpu_s=30.0), True, FailureKind.WORKER_HUNG),
        (ProcessUse(stopped=False, cpu_s=30.0), False, FailureKind.CHILD_TIMEOUT),
        (ProcessUse(stopped=True, cpu_s=30.0), False, FailureKind.WORKER_HUNG),
        (None, True, FailureKind.CHILD_TIMEOUT),
    ],
    ids=["computes", "stopped", "starved", "waits for its NPU", "stopped with its NPU", "unknown"],
)
def test_a_time_out_is_the_networks_only_if_its_process_could_compute(
    use: ProcessUse | None, on_cpu: bool, kind: FailureKind
) -> None:
    failure = timeout_failure(100.0, use, 10.0, on_cpu=on_cpu)
    assert failure.kind is kind
    assert "child_timeout_s" in failure.message


def test_a_time_out_too_short_to_judge_is_the_networks() -> None:
    failure = timeout_failure(0.01, ProcessUse(stopped=False, cpu_s=10.0), 10.0, on_cpu=True)
    assert failure.kind is FailureKind.CHILD_TIMEOUT


def test_a_network_is_not_blamed_for_a_worker_that_hangs_twice() -> None:
    kind = blamed(ArrangedSlot([FailureKind.WORKER_HUNG] * 2))
    assert kind is FailureKind.WORKER_HUNG
    assert not kind.blames_candidate
