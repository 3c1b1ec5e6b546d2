"""Fixtures for every folder of tests: a real adb daemon."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.latency.adb.adbd import OWN_NETWORK, Adbd


@pytest.fixture(scope="session")
def adbd_root() -> Path:
    """Debian's adbd and adb with their libraries, unpacked."""
    root = os.environ.get("MNAS_ADBD_ROOT")
    if not root:
        pytest.skip("needs Debian's adbd, unpacked where MNAS_ADBD_ROOT says")
    if subprocess.run([*OWN_NETWORK, "true"], capture_output=True).returncode != 0:
        pytest.skip("adbd gives a shell to everyone, and unshare --net cannot keep it off the network here")
    return Path(root)


@pytest.fixture
def start_adbd(adbd_root: Path, tmp_path: Path) -> Iterator[Callable[[], Adbd]]:
    """Starts an adbd with a folder of its own, each time it is called; they end with the test."""
    with ExitStack() as running:
        count = 0

        def start() -> Adbd:
            nonlocal count
            count += 1
            return running.enter_context(Adbd(adbd_root, tmp_path / f"adbd-{count}"))

        yield start


@pytest.fixture
def adbd(start_adbd: Callable[[], Adbd]) -> Adbd:
    """One adbd that runs; its `folder` plays a phone's /data/local/tmp."""
    return start_adbd()
