"""Workers that come and go with their nodes, in memory; the children are functions."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from mnas.errors import Failure, FailureKind, TrialError
from mnas.workers.attempts import DOUBTFUL
from mnas.workers.child import ChildResult
from mnas.workers.dispatch import DEVICE_PATIENCE_S, Dispatcher, Node
from mnas.workers.node_health import REST_S, ROUNDS_OF_LOSSES
from mnas.workers.worker import ChildJob
from search_space import Architecture, parse_block

NETWORK = Architecture((parse_block("r1_k3_s22_e1_i8_o8"),), stem_filters=8, stem_stride=2, head_filters=16)
Train = Callable[[str, int], None]
"""Trains the child of a number on a node: returns, or raises TrialError."""


def died(text: str = "as arranged") -> TrialError:
    return TrialError(FailureKind.WORKER_DIED, text)


class Cluster:
    """Nodes with room for workers, and a dispatcher that follows them."""

    def __init__(self, train: Train, retries: int = 2) -> None:
        self.train = train
        self.now_s = 0.0
        self.nodes: dict[str, Node] = {}
        self.slots: list[FakeSlot] = []
        self.dispatcher = Dispatcher(self._open, lambda node: node not in self.nodes, retries, DOUBTFUL, self._seconds)

    def has(self, **rooms: int) -> None:
        """Let these nodes be there, and no others."""
        self.nodes = {name: Node(name, room) for name, room in rooms.items()}
        for slot in self.slots:
            slot.changed.set()
        self.follow()

    def follow(self, most: int | None = None) -> None:
        self.dispatcher.staff(self.nodes, most)

    def placed(self) -> dict[str, int]:
        """Return how many workers each node has."""
        nodes = [slot.node() for slot in self.slots if not slot.closed]
        return {node: nodes.count(node) for node in sorted(filter(None, nodes))}

    def train_children(self, numbers: Sequence[int]) -> list[FailureKind | None]:
        futures = [self.dispatcher.submit(ChildJob(NETWORK, number)) for number in numbers]
        return [kind_of(future.exception(20)) for future in futures]

    def _open(self, among: frozenset[str]) -> FakeSlot:
        self.slots.append(FakeSlot(self, among))
        return self.slots[-1]

    def _seconds(self) -> float:
        return self.now_s


class FakeSlot:
    """A worker on the first node that has room, as Ray places them."""

    def __init__(self, cluster: Cluster, among: frozenset[str]) -> None:
        self._cluster, self.among = cluster, among
        self._node: str | None = None
        self.closed = False
        self.changed = threading.Event()

    def node(self) -> str | None:
        if self._node not in self._cluster.nodes:
            placed = self._cluster_placed()
            rooms: Mapping[str, Node] = self._cluster.nodes
            free = [name for name, node in rooms.items() if name in self.among and placed.count(name) < node.room]
            self._node = free[0] if free and not self.closed else None
        return self._node

    def _cluster_placed(self) -> list[str | None]:
        return [slot._node for slot in self._cluster.slots if not slot.closed and slot is not self]

    def prepare(self) -> str:
        while not self.closed:
            if self._node is not None:
                return self._node
            self.changed.wait(0.01)
        raise died("closed")

    def train(self, job: ChildJob) -> ChildResult | Failure:
        node = self._node
        assert node is not None
        self._cluster.train(node, job.seed)
        if self.closed:
            raise died("closed")
        return ChildResult(0.5, 1.0, 1.0, 1, 1.0, {}, 1.0)

    def replace(self) -> None:
        pass

    def places(self) -> list[tuple[str, int]]:
        return []

    def end_stopped(self, place: tuple[str, int]) -> None:
        raise AssertionError("no worker is stopped")

    def close(self) -> None:
        self.closed = True
        self.changed.set()


def kind_of(error: BaseException | None) -> FailureKind | None:
    if error is None:
        return None
    assert isinstance(error, TrialError), error
    return error.failure.kind


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def clusters() -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(train: Train = lambda node, number: None, retries: int = 2, **rooms: int) -> Cluster:
        made.append(Cluster(train, retries))
        made[-1].has(**rooms)
        made[-1].follow()  # once more: now it knows where they are
        return made[-1]

    yield make
    for cluster in made:
        cluster.dispatcher.close()


def test_the_workers_follow_the_nodes(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters(a=2)
    assert (cluster.placed(), cluster.dispatcher.workers) == ({"a": 2}, 2)
    cluster.has(a=2, b=3)
    assert (cluster.placed(), cluster.dispatcher.workers) == ({"a": 2, "b": 3}, 5)
    cluster.has(b=3)
    assert (cluster.placed(), cluster.dispatcher.workers) == ({"b": 3}, 3)
    cluster.has()
    assert (cluster.placed(), cluster.dispatcher.workers) == ({}, 0)


def test_a_worker_is_not_asked_for_its_node_again_while_that_is_there(
    clusters: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = clusters(a=2)

    def node(slot: FakeSlot) -> str | None:
        raise AssertionError("it was asked")

    monkeypatch.setattr(FakeSlot, "node", node)
    cluster.follow()
    assert cluster.dispatcher.workers == 2


def test_there_are_at_most_as_many_workers_as_the_settings_say(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters()
    cluster.nodes = {"a": Node("a", 2), "b": Node("b", 2)}
    cluster.follow(most=3)
    assert cluster.placed() == {"a": 2, "b": 1}
    cluster.nodes = {"b": Node("b", 2)}
    cluster.follow(most=3)
    assert cluster.placed() == {"b": 2}


class Held:
    """Children that train until they are let go."""

    def __init__(self) -> None:
        self._let_go: defaultdict[int, threading.Event] = defaultdict(threading.Event)

    def train(self, node: str, number: int) -> None:
        assert self._let_go[number].wait(20)

    def let_go(self, *numbers: int) -> None:
        for number in numbers:
            self._let_go[number].set()


def begun(cluster: Cluster, *numbers: int) -> list[Future[Mapping[str, Any]]]:
    """Submit children, and wait until they train."""
    futures = [cluster.dispatcher.submit(ChildJob(NETWORK, number)) for number in numbers]
    until(lambda: all(future.running() for future in futures))
    return futures


def test_surplus_workers_end_after_their_children(clusters: Callable[..., Cluster]) -> None:
    held = Held()
    cluster = clusters(held.train, a=3)
    futures = begun(cluster, 0, 1, 2)
    cluster.follow(most=1)
    assert (cluster.placed(), cluster.dispatcher.workers) == ({"a": 3}, 1)
    held.let_go(1)
    until(lambda: cluster.placed() == {"a": 2})
    held.let_go(0)
    until(lambda: cluster.placed() == {"a": 1})
    held.let_go(2, 3)
    assert cluster.train_children([3]) == [None]
    assert [future.exception(20) for future in futures] == [None] * 3
    assert cluster.placed() == {"a": 1}


def test_surplus_workers_that_are_idle_end_at_once(clusters: Callable[..., Cluster]) -> None:
    held = Held()
    cluster = clusters(held.train, a=3)
    (future,) = begun(cluster, 0)
    cluster.follow(most=1)
    until(lambda: cluster.placed() == {"a": 1})
    assert not future.done()
    held.let_go(0)
    assert future.exception(20) is None


def test_workers_that_wait_for_a_device_are_the_first_surplus(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters(a=1)
    both = {"a": Node("a", 1), "busy": Node("busy", 2)}  # others have its devices
    cluster.dispatcher.staff(both, None)
    cluster.dispatcher.staff(both, 1)
    assert [slot.node() for slot in cluster.slots if not slot.closed] == ["a"]


def test_workers_that_are_wanted_again_before_they_end_stay(clusters: Callable[..., Cluster]) -> None:
    held = Held()
    cluster = clusters(held.train, a=2)
    futures = begun(cluster, 0, 1)
    cluster.follow(most=1)
    cluster.follow(most=2)
    held.let_go(*range(4))
    assert [future.exception(20) for future in futures] == [None] * 2
    assert cluster.train_children([2, 3]) == [None] * 2
    assert (cluster.placed(), cluster.dispatcher.workers, len(cluster.slots)) == ({"a": 2}, 2, 2)


def test_workers_are_on_no_node_that_cannot_be_used(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters()
    cluster.nodes = {"unfit": Node("unfit", 2), "a": Node("a", 1)}
    for _ in range(2):
        cluster.dispatcher.staff({"a": cluster.nodes["a"]}, None)
    assert cluster.placed() == {"a": 1}


def test_a_worker_that_waits_in_vain_for_its_device_is_not_counted(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters()
    cluster.dispatcher.staff({"busy": Node("busy", 2)}, None)  # others have its devices
    assert cluster.dispatcher.workers == 2
    cluster.now_s = DEVICE_PATIENCE_S
    cluster.dispatcher.staff({"busy": Node("busy", 2)}, None)
    assert cluster.dispatcher.workers == 0


def test_a_child_on_a_node_that_leaves_is_trained_elsewhere_and_the_try_is_not_counted(
    clusters: Callable[..., Cluster],
) -> None:
    started = threading.Event()

    def train(node: str, number: int) -> None:
        if node == "a":
            started.set()
            until(lambda: "a" not in cluster.nodes)
            raise died("its node has died")

    cluster = clusters(train, retries=0, a=1)
    future = cluster.dispatcher.submit(ChildJob(NETWORK, 0))
    assert started.wait(20)
    cluster.has(b=1)
    cluster.follow()
    assert future.exception(20) is None


def test_a_child_ends_if_it_cannot_be_found_out_whether_its_node_is_there(
    clusters: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = clusters(lambda node, number: poisonous(node, 13), a=1)

    def has_left(node: str) -> bool:
        raise ConnectionError("the head is away")

    monkeypatch.setattr(cluster.dispatcher, "_has_left", has_left)
    assert isinstance(cluster.dispatcher.submit(ChildJob(NETWORK, 0)).exception(20), ConnectionError)


def test_children_wait_while_there_is_no_node(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters()
    future = cluster.dispatcher.submit(ChildJob(NETWORK, 0))
    assert not future.done()
    cluster.has(a=1)
    cluster.follow()
    assert future.exception(20) is None


def test_a_child_that_was_cancelled_while_it_waited_is_not_trained(clusters: Callable[..., Cluster]) -> None:
    trained: list[int] = []
    cluster = clusters(lambda node, number: trained.append(number))
    first, second = (cluster.dispatcher.submit(ChildJob(NETWORK, number)) for number in range(2))
    assert first.cancel()
    cluster.has(a=1)
    cluster.follow()
    assert second.exception(20) is None
    assert trained == [1]


def test_a_child_that_lost_its_worker_goes_to_an_idle_one_on_another_node(clusters: Callable[..., Cluster]) -> None:
    tried: list[str] = []

    def train(node: str, number: int) -> None:
        tried.append(node)
        if len(tried) == 1:
            raise died()

    cluster = clusters(train, a=1, b=1)
    until(lambda: len(cluster.dispatcher._idle) == 2)
    assert cluster.train_children([0]) == [None]
    assert sorted(tried) == ["a", "b"]


def test_a_node_that_loses_worker_after_worker_is_left_out_for_a_while_and_said_so(
    clusters: Callable[..., Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    def train(node: str, number: int) -> None:
        if node == "bad":
            raise died()
        time.sleep(0.002)

    cluster = clusters(train, retries=0, bad=1)
    assert cluster.train_children(range(ROUNDS_OF_LOSSES)) == [FailureKind.WORKER_DIED] * ROUNDS_OF_LOSSES
    assert "left out" not in caplog.text  # it is the only one
    cluster = clusters(train, retries=0, bad=1, good=1)
    cluster.train_children(range(40))
    cluster.follow()
    cluster.follow()
    assert cluster.placed() == {"good": 1}
    assert "node bad loses one worker after another; it is left out for 10 minutes" in caplog.text
    assert cluster.train_children(range(10)) == [None] * 10
    cluster.now_s = REST_S
    cluster.follow()
    cluster.follow()
    assert cluster.placed() == {"bad": 1, "good": 1}


def poisonous(node: str, number: int) -> None:
    if number == 13:
        raise died("SIGSEGV")


def test_a_child_that_kills_every_worker_is_blamed_where_others_are_trained(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters(poisonous, a=1)
    assert cluster.train_children([1, 13, 2]) == [None, FailureKind.KILLS_WORKER, None]
    assert FailureKind.KILLS_WORKER.blames_candidate


@pytest.mark.parametrize("retries", [0, 2])
def test_it_is_not_blamed_where_nothing_else_was_trained_or_after_one_death(
    clusters: Callable[..., Cluster], retries: int
) -> None:
    cluster = clusters(poisonous, retries=retries, a=1)
    before = [1] if retries == 0 else []
    assert cluster.train_children([*before, 13])[-1] is FailureKind.WORKER_DIED


def test_a_worker_that_does_not_start_costs_the_children_that_wait_their_tries(
    clusters: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(slot: FakeSlot) -> str:
        raise died("no MindSpore")

    monkeypatch.setattr(FakeSlot, "prepare", prepare)
    monkeypatch.setattr("mnas.workers.dispatch.MAX_START_PAUSE_S", 0.001)
    monkeypatch.setattr("mnas.workers.dispatch.START_PAUSE_S", 0.001)
    cluster = clusters(a=1)
    assert cluster.train_children([0, 1]) == [FailureKind.WORKER_DIED] * 2


def test_an_error_that_nobody_foresaw_ends_its_child_and_another_worker_is_opened(
    clusters: Callable[..., Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    def train(node: str, number: int) -> None:
        if number == 0:
            raise ZeroDivisionError("a bug")

    cluster = clusters(train, a=1)
    assert isinstance(cluster.dispatcher.submit(ChildJob(NETWORK, 0)).exception(20), ZeroDivisionError)
    until(lambda: not cluster.placed())
    cluster.follow()
    cluster.follow()
    assert cluster.train_children([1]) == [None]
    assert "a worker is given up: a bug" in caplog.text


def test_closing_ends_the_children_that_wait(clusters: Callable[..., Cluster]) -> None:
    cluster = clusters()
    future = cluster.dispatcher.submit(ChildJob(NETWORK, 0))
    cluster.dispatcher.close()
    later = cluster.dispatcher.submit(ChildJob(NETWORK, 1))
    assert [kind_of(each.exception(20)) for each in (future, later)] == [FailureKind.WORKER_DIED] * 2
