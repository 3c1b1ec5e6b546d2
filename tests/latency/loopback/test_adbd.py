"""The test daemon itself: harmless to the machine it runs on, and gone with the test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from latency.adb import connect
from latency.loopback.adbd import Adbd

START = """
import sys, time
from pathlib import Path
from latency.loopback.adbd import Adbd
adbd = Adbd(Path(sys.argv[1]), Path(sys.argv[2]))
adbd.start()
print(adbd.pid, flush=True)
time.sleep(60)
"""


def test_it_is_reached_at_one_loopback_address_only(adbd: Adbd) -> None:
    socket.create_connection(("127.0.0.1", adbd.port)).close()
    with pytest.raises(ConnectionRefusedError):  # What listens on every interface listens on this one, too.
        socket.create_connection(("127.0.0.2", adbd.port))


def test_several_run_at_once_each_in_its_own_folder(start_adbd: Callable[[], Adbd]) -> None:
    for adbd in [start_adbd(), start_adbd()]:
        with connect(adbd.address, keys=[]) as device:
            assert device.shell(["pwd"], timeout_s=20).stdout == f"{adbd.folder}\n"


def test_a_restarted_one_has_the_same_address(adbd: Adbd) -> None:
    address, pid = adbd.address, adbd.pid
    adbd.restart()
    assert adbd.address == address
    assert adbd.pid != pid
    connect(address, keys=[]).close()


def test_it_dies_with_the_test_even_if_frozen(adbd_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", START, str(adbd_root), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as test:
        assert test.stdout is not None
        pid = int(test.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        test.kill()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
