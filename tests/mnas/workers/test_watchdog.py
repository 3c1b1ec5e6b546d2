"""Processes that stand still, on this machine; Ray is not started."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from mnas.workers.watchdog import Watchdog


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnas.workers.worker.STOPPED_LOOK_S", 0.001)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def test_a_process_that_is_stopped_at_two_looks_is_found(process: subprocess.Popen[bytes]) -> None:
    watchdog, place = Watchdog("here"), ("here", process.pid)
    stop(process)
    assert [watchdog.look([place]) for _ in range(2)] == [set(), {place}]


def test_one_that_went_on_in_between_is_not(process: subprocess.Popen[bytes]) -> None:
    watchdog, place = Watchdog("here"), ("here", process.pid)
    stop(process)
    assert watchdog.look([place]) == set()
    process.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, process.pid, os.WCONTINUED)
    assert watchdog.look([place]) == set()
    stop(process)
    assert watchdog.look([place]) == set()
