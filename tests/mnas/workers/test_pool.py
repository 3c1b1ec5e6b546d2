"""The pool on a real Ray cluster, with real MindSpore children on the digits."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import msgspec
import psutil
import pytest

from mnas.data import DigitsSettings, SearchData
from mnas.errors import FailureKind, TrialError
from mnas.experiment import SearchSettings
from mnas.training.settings import Constant, SgdSettings, TrainingSettings
from mnas.workers.cluster import ray_cluster
from mnas.workers.cores import take_core
from mnas.workers.pool import ChildPool
from search_space import Architecture, parse_block

SMALL = Architecture((parse_block("r1_k3_s22_e1_i8_o8"),), stem_filters=8, stem_stride=2, head_filters=16)
QUICK = TrainingSettings(epochs=1, batch_size=64, learning_rate=0.01)
DIVERGING = TrainingSettings(
    epochs=3, batch_size=64, learning_rate=1e38, optimizer=SgdSettings(), schedule=Constant(warmup_epochs=0)
)


@pytest.fixture(scope="module")
def data() -> SearchData:
    return DigitsSettings(image_size=16, reward_images=100, train_images=256).load_search()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster(SearchSettings(trials=1, workers=2)):
        yield


def settings(**changes: float) -> SearchSettings:
    return msgspec.convert({"trials": 1, "workers": 1, "retries": 1, **changes}, SearchSettings)


@pytest.fixture
def pool(cluster: None, data: SearchData) -> Iterator[ChildPool]:
    pool = ChildPool(data, QUICK, settings(), "CPU", workers=1)
    yield pool
    pool.close()


def running_pid(pool: ChildPool) -> int:
    """Wait for the pool's worker to start."""
    deadline = time.monotonic() + 60
    while not pool.pids():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return pool.pids()[0]


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_child_comes_back_with_accuracy_and_phases(pool: ChildPool) -> None:
    result = pool.submit(SMALL, 0).result(120)
    assert 0 <= result["accuracy"] <= 1
    assert result["phases"].keys() >= {"compile", "train", "evaluate"}


def test_a_child_whose_worker_is_killed_is_trained_by_another(pool: ChildPool) -> None:
    future = pool.submit(SMALL, 0)
    killed = running_pid(pool)
    os.kill(killed, signal.SIGKILL)
    assert 0 <= future.result(120)["accuracy"] <= 1
    assert pool.pids() != [killed]


def test_a_worker_that_dies_every_time_is_a_typed_failure(cluster: None, data: SearchData) -> None:
    pool = ChildPool(data, QUICK, settings(retries=0), "CPU", workers=1)
    future = pool.submit(SMALL, 0)
    os.kill(running_pid(pool), signal.SIGKILL)
    with pytest.raises(TrialError) as caught:
        future.result(120)
    pool.close()
    assert caught.value.failure.kind is FailureKind.WORKER_DIED


def test_a_diverging_child_is_a_typed_failure(cluster: None, data: SearchData) -> None:
    pool = ChildPool(data, DIVERGING, settings(), "CPU", workers=1)
    with pytest.raises(TrialError, match=r"nan|inf") as caught:
        pool.submit(SMALL, 0).result(120)
    pool.close()
    assert caught.value.failure.kind is FailureKind.TRAINING_DIVERGED


def test_a_child_that_takes_too_long_is_a_typed_failure(cluster: None, data: SearchData) -> None:
    pool = ChildPool(data, QUICK, settings(child_timeout_s=0.01), "CPU", workers=1)
    with pytest.raises(TrialError, match="child_timeout_s") as caught:
        pool.submit(SMALL, 0).result(120)
    pool.close()
    assert caught.value.failure.kind is FailureKind.CHILD_TIMEOUT


def test_a_child_whose_worker_hangs_is_trained_by_another(cluster: None, data: SearchData) -> None:
    pool = ChildPool(data, QUICK, settings(retries=0, child_timeout_s=15), "CPU", workers=1)
    pool.submit(SMALL, 0).result(120)
    hung = running_pid(pool)
    os.kill(hung, signal.SIGSTOP)
    assert 0 <= pool.submit(SMALL, 1).result(120)["accuracy"] <= 1
    assert pool.pids() != [hung]
    pool.close()
    wait_for_end(hung)


def test_a_worker_past_its_memory_bound_is_replaced(cluster: None, data: SearchData) -> None:
    pool = ChildPool(data, QUICK, settings(worker_memory_mb=200), "CPU", workers=1)
    future = pool.submit(SMALL, 0)
    first = running_pid(pool)
    future.result(120)
    again = pool.submit(SMALL, 1)
    again.result(120)
    pool.close()
    assert not psutil.pid_exists(first)


@pytest.fixture
def growing(cluster: None, data: SearchData, pool: ChildPool) -> Iterator[ChildPool]:
    """A pool whose worker is near its memory bound after every child, and never beyond it."""
    resident_mb = pool.submit(SMALL, 0).result(120)["resident_mb"]
    pool.close()
    growing = ChildPool(data, QUICK, settings(retries=0, worker_memory_mb=int(resident_mb / 0.95)), "CPU", workers=1)
    yield growing
    growing.close()


def train_until(pool: ChildPool, done: Callable[[], bool]) -> int:
    """Train child after child; return how many."""
    children = 0
    while not done():
        pool.submit(SMALL, children).result(120)
        children += 1
        assert children < 100
    return children


def test_a_worker_near_its_bound_goes_on_until_its_replacement_is_ready(growing: ChildPool) -> None:
    growing.submit(SMALL, 0).result(120)
    old = running_pid(growing)
    # One that was waited for would be there for the first child.
    assert train_until(growing, lambda: not psutil.pid_exists(old)) > 2


@pytest.fixture
def no_free_core(growing: ChildPool) -> Iterator[None]:
    """All cores but that of the worker are taken; in threads that end, so that no other test is bound."""
    running_pid(growing)
    claims = []
    with ThreadPoolExecutor(1) as threads:
        while (claim := threads.submit(take_core).result()) is not None:
            claims.append(claim)
            threads.submit(os.sched_setaffinity, 0, os.sched_getaffinity(0)).result()
    yield
    for claim in claims:
        claim.close()


def test_a_replacement_takes_the_core_over_in_every_thread(growing: ChildPool, no_free_core: None) -> None:
    old = running_pid(growing)
    core = os.sched_getaffinity(old)
    train_until(growing, lambda: not psutil.pid_exists(old))
    growing.submit(SMALL, 0).result(120)
    replacement = psutil.Process(growing.pids()[0])
    assert {tuple(os.sched_getaffinity(thread.id)) for thread in replacement.threads()} == {tuple(core)}


def test_a_quiet_window_holds_back_a_replacement_too(growing: ChildPool) -> None:
    growing.submit(SMALL, 0).result(120)
    train_until(growing, lambda: len(growing.pids()) == 2)


def test_a_worker_that_dies_while_its_replacement_loads_is_replaced_by_it(growing: ChildPool) -> None:
    growing.submit(SMALL, 0).result(120)
    train_until(growing, lambda: len(growing.pids()) == 2)
    old, replacement = growing.pids()
    os.kill(old, signal.SIGKILL)
    with pytest.raises(TrialError):
        growing.submit(SMALL, 1).result(120)
    growing.submit(SMALL, 2).result(120)
    assert growing.pids()[0] == replacement


def test_a_replacement_that_dies_costs_no_child(growing: ChildPool) -> None:
    growing.submit(SMALL, 0).result(120)
    train_until(growing, lambda: len(growing.pids()) == 2)
    old, replacement = growing.pids()
    os.kill(replacement, signal.SIGKILL)
    train_until(growing, lambda: not psutil.pid_exists(old))


def test_closing_ends_workers_and_children_in_training(cluster: None, data: SearchData) -> None:
    pool = ChildPool(data, QUICK, settings(), "CPU", workers=1)
    future = pool.submit(SMALL, 0)
    pid = running_pid(pool)
    pool.close()
    assert wait([future], 10).done
    assert isinstance(future.exception(), TrialError)
    wait_for_end(pid)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_workers_have_a_core_each(cluster: None, data: SearchData) -> None:
    pool = ChildPool(data, QUICK, settings(), "CPU", workers=2)
    for future in [pool.submit(SMALL, seed) for seed in range(2)]:
        future.result(120)
    cores = [os.sched_getaffinity(pid) for pid in pool.pids()]
    pool.close()
    assert [len(own) for own in cores] == [1, 1]
    assert cores[0] != cores[1]
