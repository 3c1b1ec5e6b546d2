"""`mnas phones loopback`: this machine plays a phone for as long as the command runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from latency.adb import Address, connect
from mnas.cli import main


@contextmanager
def running(home: Path, cwd: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command with caches of its own, but for the downloads, which are this user's."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnas" / "downloads"
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(home),
        "MNAS_DOWNLOADS": str(cache),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "mnas", "phones", "loopback", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_plays_a_phone_until_a_signal_ends_it(number: signal.Signals, adbd_root: Path, tmp_path: Path) -> None:
    with running(tmp_path / "cache", tmp_path, "--port", "0") as process:
        assert process.stdout is not None
        target = process.stdout.readline().split()[3]
        with connect(Address("tcp", target), keys=[]) as device:
            assert device.shell(["echo", "a phone"], timeout_s=20).stdout == "a phone\n"
        daemons = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in errors) == (0, False)
    assert psutil.wait_procs(daemons, timeout=10)[1] == []


def test_the_line_that_it_prints_adds_the_phone(adbd_root: Path, tmp_path: Path) -> None:
    with running(tmp_path / "cache", tmp_path, "--port", "0") as process:
        assert process.stdout is not None
        target = process.stdout.readline().split()[3]
        assert process.stdout.readline() == (
            f"  mnas phones add my-phone --tcp {target} --folder {tmp_path}/cache/mnas/loopback-phone/mnas\n"
        )


def test_a_port_in_use_is_told(adbd_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["phones", "loopback", "--port", str(taken.getsockname()[1])]) == 1
    assert "Address already in use; choose another port" in capsys.readouterr().err


def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phones", "loopback", "--port", "70000"]) == 2
    assert "from 0 to 65535" in capsys.readouterr().err


def test_a_machine_without_apt_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mnas.cli.phones.loopback.check_machine", lambda: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MNAS_DOWNLOADS", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["phones", "loopback"]) == 1
    shown = capsys.readouterr().err
    assert "this machine has no apt-get" in shown
    assert "MNAS_DOWNLOADS" in shown


def test_a_machine_of_another_architecture_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert main(["phones", "loopback"]) == 1
    assert "runs on x86-64 only, this machine is aarch64" in capsys.readouterr().err
