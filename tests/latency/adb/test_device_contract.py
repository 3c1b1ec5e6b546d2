"""What every connected phone must do, against a real adbd. A new way to a phone joins by one more case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from latency.adb import AdbDevice, ShellResult, connect
from tests.latency.adb.adbd import Adbd


@pytest.fixture
def device(adbd: Adbd) -> Iterator[AdbDevice]:
    with connect(adbd.address, keys=[]) as device:
        yield device


def test_output_error_output_and_status_come_apart(device: AdbDevice) -> None:
    result = device.shell(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_s=20)
    assert result == ShellResult("out\n", "err\n", 3)
