"""A real adbd (Debian's) for the tests: its own loopback port, network and folder; gone when the test is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from latency.adb.address import Address
from tests.latency.adb.debian import command

# Root needs no user namespace (and may not have any); others get a network only with one.
OWN_NETWORK = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net"]
CAGE = Path(__file__).with_name("adbd_cage.py")


class Adbd:
    """One adb daemon, started by `start` or `with`.

    `root` holds the unpacked Debian packages, `folder` is its home and working folder: use it as a phone's
    /data/local/tmp, since adbd sees the file system of this machine.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._command = command(root, "adbd")
        self.root, self.folder = root, folder
        self.port = 0
        self.pid = 0
        self._cage: subprocess.Popen[str] | None = None

    @property
    def address(self) -> Address:
        return Address("tcp", f"127.0.0.1:{self.port}")

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", self.port)) as listener:  # Port 0 the first time: any that is free.
            self.port = listener.getsockname()[1]
            cage = [sys.executable, "-S", "-E", str(CAGE), str(listener.fileno()), *self._command]
            with (self.folder / "adbd.log").open("a") as log:
                self._cage = subprocess.Popen(
                    [*OWN_NETWORK, *cage],
                    cwd=self.folder,
                    env={**os.environ, "HOME": str(self.folder)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    pass_fds=(listener.fileno(),),
                    text=True,
                )
        assert self._cage.stdout is not None
        pid = self._cage.stdout.readline()
        if not pid:
            raise RuntimeError(f"adbd did not start: {(self.folder / 'adbd.log').read_text()[-2000:]}")
        self.pid = int(pid)

    def kill(self) -> None:
        """End adbd at once; the port is closed when this returns."""
        assert self._cage is not None
        os.kill(self.pid, signal.SIGKILL)
        self._cage.wait(10)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Kill it if it still runs, and start another on the same port."""
        self.stop()
        self.start()

    def stop(self) -> None:
        if self._cage is not None:
            self._cage.kill()  # Takes adbd along, frozen or not.
            self._cage.communicate()
            self._cage = None
            while _runs(self.pid):
                time.sleep(0.005)

    def __enter__(self) -> Adbd:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
