"""A real adb server (Debian's) for the tests, on a port of its own: nobody else's is touched."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from latency.adb.address import Address
from latency.loopback.debian import command


class AdbServer:
    """Started by `with`; knows only the daemons that it is told to `connect` to."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._command = command(root, "adb")
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        # No search for emulators on this host's ports, nor for phones on its network.
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "ADB_MDNS_OPENSCREEN": "0",
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",
        }

    def try_to_connect(self, address: Address) -> str:
        """Name a daemon to the server; returns what `adb connect` says."""
        return self._ask("connect", address.target)

    def connect(self, address: Address) -> Address:
        """Have the server connect to a daemon; returns the phone's address at the server."""
        said = self.try_to_connect(address)
        if "connected to" not in said:
            raise RuntimeError(f"adb connect {address.target}: {said}")
        self._ask("-s", address.target, "wait-for-device")
        return Address("server", address.target)

    def _ask(self, *arguments: str) -> str:
        return subprocess.run(
            [*self._command, "-P", str(self.port), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout

    def __enter__(self) -> AdbServer:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "server.log").open("w") as log:
            self._process = subprocess.Popen(
                # It dies with the test, however that ends.
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    *self._command,
                    "-L",
                    f"tcp:localhost:{self.port}",
                    "server",
                    "nodaemon",
                ],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except ConnectionRefusedError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self._process.kill()
                    log_text = (self._folder / "server.log").read_text()
                    raise RuntimeError(f"the adb server did not start: {log_text[-2000:]}") from None
                time.sleep(0.01)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
