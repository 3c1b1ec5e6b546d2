"""adb's packets: what the contract of all devices cannot see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from latency.adb import connect
from latency.adb.connection import Deadline
from latency.errors import ToolError
from latency.loopback.adbd import Adbd
from tests.latency.adb.proxy import Proxy


@pytest.fixture
def proxy(adbd: Adbd) -> Iterator[Proxy]:
    with Proxy(adbd.address) as proxy:
        yield proxy


def test_a_damaged_packet_is_never_taken_for_an_answer(proxy: Proxy) -> None:
    device = connect(proxy.address, keys=[])
    proxy.damage()
    with pytest.raises(ToolError) as caught:
        device.shell(["true"], timeout_s=20)
    assert caught.value.kind == "adb_protocol"


def test_a_service_that_adbd_does_not_have_is_refused_at_once(proxy: Proxy) -> None:
    connection = connect(proxy.address, keys=[])._connection
    with pytest.raises(ToolError, match="refuses the service 'no-such-service'"):
        connection.open("no-such-service:", Deadline.after(20, "open"))
