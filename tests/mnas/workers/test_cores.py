"""Cores are taken in threads of their own, so that what is bound ends with the test."""

import os
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from mnas.workers.cores import take_core

CORES = os.sched_getaffinity(0)


@pytest.fixture
def owners() -> str:
    return uuid.uuid4().hex


def take(owners: str) -> tuple[socket.socket | None, set[int]]:
    """Take a core in a new thread; the claim, and the cores that the thread may use after it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: (take_core(owners), os.sched_getaffinity(0))).result()


def test_every_core_is_taken_once(owners: str) -> None:
    taken = [take(owners) for _ in CORES]
    assert sorted(core for _, cores in taken for core in cores) == sorted(CORES)


def test_where_none_is_left_nothing_is_bound(owners: str) -> None:
    claims = [take(owners)[0] for _ in CORES]
    assert all(claims)
    assert take(owners) == (None, CORES)


def test_a_core_that_is_given_back_can_be_taken_again(owners: str) -> None:
    claims = [take(owners) for _ in CORES]
    claim, cores = claims[-1]
    assert claim is not None
    claim.close()
    again, same = take(owners)
    assert again is not None
    assert same == cores


def test_threads_started_later_are_bound_too(owners: str) -> None:
    def start_another() -> set[int]:
        assert take_core(owners) is not None
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(os.sched_getaffinity, 0).result()

    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(start_another).result()) == 1


def test_a_core_that_is_given_back_in_time_is_taken(owners: str) -> None:
    claims = [take(owners)[0] for _ in CORES]
    first = claims[0]
    assert first is not None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(take_core, owners, patience_s=30.0)
        time.sleep(0.1)
        assert not waiting.done()
        first.close()
        assert waiting.result(30) is not None


def test_every_thread_of_a_process_is_bound() -> None:
    script = """
import os, threading
from mnas.workers.cores import bind_process
stop = threading.Event()
threads = [threading.Thread(target=stop.wait) for _ in range(3)]
for thread in threads: thread.start()
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
bind_process()
print(sorted(len(os.sched_getaffinity(int(task))) for task in os.listdir("/proc/self/task")))
stop.set()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1, 1, 1, 1]"
