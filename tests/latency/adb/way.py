"""The ways to a phone, over which every connected device must pass the same tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from latency.adb import AdbDevice, Address, connect
from latency.loopback.adbd import Adbd
from tests.latency.adb.adb_server import AdbServer
from tests.latency.adb.proxy import Proxy


class Way:
    """A way to one adbd: straight, or through an adb server; both with a proxy to choose, for faults."""

    def __init__(self, adbd: Adbd, proxy: Proxy, server: AdbServer | None) -> None:
        self.adbd = adbd
        self.proxy = proxy
        self._server = server

    @property
    def folder(self) -> Path:
        return self.adbd.folder

    def connect(self) -> AdbDevice:
        return self._connect(self.adbd.address)

    def connect_through_proxy(self) -> AdbDevice:
        return self._connect(self.proxy.address)

    def _connect(self, address: Address) -> AdbDevice:
        return connect(self._server.connect(address) if self._server else address, keys=[], timeout_s=20)


@contextmanager
def open_way(kind: str, root: Path, folder: Path) -> Iterator[Way]:
    with ExitStack() as stack:
        adbd = stack.enter_context(Adbd(root, folder / "adbd"))
        proxy = stack.enter_context(Proxy(adbd.address))
        server = None
        if kind == "server":
            server = stack.enter_context(AdbServer(root, folder / "server"))
            stack.enter_context(pytest.MonkeyPatch.context()).setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        yield Way(adbd, proxy, server)
