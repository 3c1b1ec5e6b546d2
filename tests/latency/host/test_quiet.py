from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from latency.errors import ToolError
from latency.host import pause_guard
from latency.host.line_process import LineProcess
from latency.host.pause_guard import all_threads_stopped, start_ticks
from latency.host.quiet import ProcessPauser

Victim = subprocess.Popen[bytes]

VICTIM = """
import threading
def work():
    while True: sum(range(1000))
threading.Thread(target=work, daemon=True).start()
print(flush=True)
work()
"""
OWNER = """
import sys, time
from latency.host.quiet import ProcessPauser
pauser = ProcessPauser(limit_s=60)
with pauser.window(lambda: [int(sys.argv[1])]):
    print(pauser.guard_pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def victim() -> Iterator[Victim]:
    with subprocess.Popen([sys.executable, "-c", VICTIM], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def pauser() -> Iterator[ProcessPauser]:
    made = ProcessPauser(limit_s=30)
    yield made
    made.close()


def runs_again(pid: int, timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while all_threads_stopped(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_a_process_stands_still_with_all_its_threads_inside_the_window_only(
    pauser: ProcessPauser, victim: Victim
) -> None:
    with pauser.window(lambda: [victim.pid]):
        assert all_threads_stopped(victim.pid)
        assert len(os.listdir(f"/proc/{victim.pid}/task")) == 2
    assert runs_again(victim.pid)


def test_the_length_of_the_windows_is_added_up(pauser: ProcessPauser, victim: Victim) -> None:
    for _ in range(2):
        with pauser.window(lambda: [victim.pid]):
            time.sleep(0.05)
    assert pauser.paused_s >= 0.1


def test_processes_go_on_when_the_block_raises(pauser: ProcessPauser, victim: Victim) -> None:
    with pytest.raises(KeyboardInterrupt), pauser.window(lambda: [victim.pid]):
        raise KeyboardInterrupt
    assert runs_again(victim.pid)
    with pauser.window(lambda: [victim.pid]):
        assert all_threads_stopped(victim.pid)


def test_processes_go_on_when_the_owner_is_killed(victim: Victim) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(victim.pid)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        assert all_threads_stopped(victim.pid)
        owner.kill()
        assert runs_again(victim.pid)


def test_processes_go_on_when_the_guard_is_terminated(victim: Victim) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(victim.pid)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        os.kill(int(owner.stdout.readline()), signal.SIGTERM)
        assert runs_again(victim.pid)
        owner.kill()


def test_a_killed_guard_is_reported_and_the_processes_go_on(pauser: ProcessPauser, victim: Victim) -> None:
    with pauser.window(list):
        guard_pid = pauser.guard_pid
    assert guard_pid is not None
    with pytest.raises(ToolError) as caught, pauser.window(lambda: [victim.pid]):
        os.kill(guard_pid, signal.SIGKILL)
    assert caught.value.kind == "pause_failed"
    assert runs_again(victim.pid)
    with pauser.window(lambda: [victim.pid]):
        assert all_threads_stopped(victim.pid)


def test_a_window_that_outlasts_its_limit_lets_processes_go_on_and_is_an_error(
    victim: Victim,
) -> None:
    pauser = ProcessPauser(limit_s=0.1)
    try:
        with pytest.raises(ToolError) as caught, pauser.window(lambda: [victim.pid]):
            assert runs_again(victim.pid)
    finally:
        pauser.close()
    assert caught.value.kind == "pause_expired"


def test_a_process_that_is_gone_is_passed_over(pauser: ProcessPauser, victim: Victim) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with pauser.window(lambda: [dead.pid, victim.pid]):
        assert all_threads_stopped(victim.pid)


def test_a_process_that_ends_inside_the_window_is_no_error(pauser: ProcessPauser, victim: Victim) -> None:
    with pauser.window(lambda: [victim.pid]):
        victim.kill()
        victim.wait()


def test_a_process_that_was_stopped_before_stays_stopped(pauser: ProcessPauser, victim: Victim) -> None:
    os.kill(victim.pid, signal.SIGSTOP)
    while not all_threads_stopped(victim.pid):
        time.sleep(0.001)
    with pauser.window(lambda: [victim.pid]):
        pass
    assert all_threads_stopped(victim.pid)


def test_a_reused_process_id_is_not_touched(victim: Victim) -> None:
    start = start_ticks(victim.pid)
    assert start is not None
    guard = LineProcess([sys.executable, "-I", "-S", str(Path(pause_guard.__file__))])
    try:
        assert guard.ask(f"stop 10 {victim.pid}:{start + 1}", 10) == "stopped 0"
        assert not all_threads_stopped(victim.pid)
        assert guard.ask(f"stop 10 {victim.pid}:{start}", 10) == "stopped 1"
    finally:
        guard.close()
    assert runs_again(victim.pid)


def test_a_process_cannot_pause_itself(pauser: ProcessPauser) -> None:
    with pytest.raises(ValueError, match="cannot pause itself"), pauser.window(lambda: [os.getpid()]):
        pass


@pytest.mark.parametrize("limit_s", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_not_positive_is_refused(limit_s: float) -> None:
    with pytest.raises(ValueError, match="limit_s"):
        ProcessPauser(limit_s)
