"""Leases, held and lost by real processes."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from latency.errors import PhoneError, ToolError
from latency.leases.between_processes import PhoneLeases, user_leases

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from latency.leases.between_processes import PhoneLeases
with PhoneLeases(Path(sys.argv[1]), expiry_s=float(sys.argv[2])).hold("phone"):
    print("held", flush=True)
    sys.stdin.readline()
print("given back", flush=True)
"""
COUNTER = """
import sys
from pathlib import Path
from latency.leases.between_processes import PhoneLeases
leases, counter = PhoneLeases(Path(sys.argv[1])), Path(sys.argv[2])
for _ in range(20):
    with leases.hold("phone"):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    with ExitStack() as stack:

        def start(script: str, *arguments: object) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", script, *map(str, arguments)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def start_holder(
    started: Callable[..., subprocess.Popen[str]], folder: Path, expiry_s: float = 30.0
) -> subprocess.Popen[str]:
    process = started(HOLDER, folder, expiry_s)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_it_is_held_by_one_at_a_time(folder: Path) -> None:
    leases = PhoneLeases(folder, wait_s=0.2)
    with leases.hold("phone"), pytest.raises(PhoneError, match="in use") as caught, leases.hold("phone"):
        pass
    assert caught.value.kind == "phone_busy"


def test_other_phones_are_free(folder: Path) -> None:
    leases = PhoneLeases(folder, wait_s=0.2)
    with leases.hold("10.0.0.1:5555"), leases.hold("10.0.0.2:5555"), leases.hold("../phone"):
        pass
    assert all(path.parent == folder for path in folder.parent.rglob("*.json"))


def test_it_is_free_again_after_the_block_and_after_an_error_in_it(folder: Path) -> None:
    leases = PhoneLeases(folder, wait_s=0.2)
    with pytest.raises(ZeroDivisionError), leases.hold("phone"):
        raise ZeroDivisionError
    with leases.hold("phone"):
        pass
    with leases.hold("phone"):
        pass


def test_the_error_after_waiting_says_who_has_the_phone(
    folder: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = start_holder(started, folder)
    with (
        pytest.raises(PhoneError, match=rf"process {holder.pid} \(.*python.*\)"),
        PhoneLeases(folder, wait_s=0.2).hold("phone"),
    ):
        pass


def test_a_long_wait_is_logged_with_who_has_the_phone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("latency.leases.between_processes._SILENCE_S", 0.1)
    caplog.set_level(logging.INFO, "latency")
    leases = PhoneLeases(folder, wait_s=0.5)
    with leases.hold("phone"), pytest.raises(PhoneError), leases.hold("phone"):
        pass
    (message,) = caplog.messages
    assert f"in use by process {os.getpid()}" in message
    assert "waiting up to 0.5 s" in message


def test_the_process_that_waits_longest_is_next(folder: Path) -> None:
    leases = PhoneLeases(folder)
    order: list[str] = []

    def use(name: str) -> None:
        with leases.hold("phone"):
            order.append(name)

    with leases.hold("phone"):
        waiting = threading.Thread(target=use, args=("waited",))
        waiting.start()
        while len(json.loads((folder / "phone.json").read_text().splitlines()[0])) < 2:
            time.sleep(0.01)
    use("came later")
    waiting.join()
    assert order == ["waited", "came later"]


def test_a_killed_process_loses_its_lease_at_once(folder: Path, started: Callable[..., subprocess.Popen[str]]) -> None:
    holder = start_holder(started, folder, expiry_s=3600.0)
    holder.kill()
    holder.wait()
    with PhoneLeases(folder, wait_s=5.0).hold("phone"):
        pass


def test_a_killed_process_that_nobody_has_waited_for_loses_its_lease_too(
    folder: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = start_holder(started, folder, expiry_s=3600.0)
    os.kill(holder.pid, signal.SIGKILL)
    with PhoneLeases(folder, wait_s=5.0).hold("phone"):
        pass


def test_a_stopped_process_loses_its_lease_after_a_while_and_learns_of_it(
    folder: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = start_holder(started, folder, expiry_s=1.0)
    os.kill(holder.pid, signal.SIGSTOP)
    with PhoneLeases(folder, wait_s=20.0).hold("phone"):
        os.kill(holder.pid, signal.SIGCONT)
        output, errors = holder.communicate("end\n", timeout=20)
    assert output == ""
    assert "does not count" in errors


def test_a_stopped_process_that_nobody_followed_keeps_its_lease(
    folder: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = start_holder(started, folder, expiry_s=0.3)
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(0.6)
    os.kill(holder.pid, signal.SIGCONT)
    output, _ = holder.communicate("end\n", timeout=20)
    assert output == "given back\n"


def test_a_lease_is_renewed_while_it_is_held(folder: Path, started: Callable[..., subprocess.Popen[str]]) -> None:
    start_holder(started, folder, expiry_s=0.5)
    with pytest.raises(PhoneError, match="in use"), PhoneLeases(folder, wait_s=2.0).hold("phone"):
        pass


def test_a_stopped_process_in_the_line_lets_the_others_pass(
    folder: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    with PhoneLeases(folder).hold("phone"):
        waiter = started(HOLDER, folder, 1.0)
        while len(json.loads((folder / "phone.json").read_text().splitlines()[0])) < 2:
            time.sleep(0.01)
        os.kill(waiter.pid, signal.SIGSTOP)
    with PhoneLeases(folder, wait_s=20.0).hold("phone"):
        pass


def test_many_processes_that_start_at_once_never_hold_it_together(
    folder: Path, tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [started(COUNTER, folder, counter) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert counter.read_text() == "80"


def test_closing_ends_all_waiting(folder: Path) -> None:
    leases = PhoneLeases(folder, wait_s=3600.0)
    with leases.hold("phone"):
        threading.Timer(0.1, leases.close).start()
        with pytest.raises(PhoneError, match="in use"), leases.hold("phone"):
            pass


def test_a_spoilt_file_is_a_free_phone(folder: Path) -> None:
    leases = PhoneLeases(folder, wait_s=0.2)
    (folder / "phone.json").write_text('{"half of something')
    with leases.hold("phone"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolError, match="file") as caught:
        PhoneLeases(tmp_path / "file" / "leases")
    assert caught.value.kind == "lease_unusable"


def test_a_file_system_without_locks_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(ToolError, match=r"its file system .* has no locks; set XDG_STATE_HOME"),
        PhoneLeases(folder).hold("phone"),
    ):
        pass


@pytest.mark.parametrize("times", [{"expiry_s": 0.0}, {"wait_s": -1.0}])
def test_times_must_be_positive(folder: Path, times: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        PhoneLeases(folder, **times)


def test_the_users_leases_are_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with user_leases().hold("phone"):
        assert (tmp_path / "mnas" / "leases" / "phone.json").is_file()
