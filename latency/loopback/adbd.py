"""One adb daemon with its own loopback port, network and folder.

It ends with the process that started it.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from latency.adb.address import Address
from latency.errors import ToolError
from latency.loopback.debian import command

# Root needs no user namespace (and may not have any); other users get a network of their own only with one.
_OWN_NETWORK = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net"]
_CAGE = Path(__file__).with_name("cage.py")


def check_machine() -> None:
    """Check that a daemon can run here and be kept off the network.

    Raises:
        ToolError: `loopback_unavailable`.
    """
    if platform.machine() != "x86_64":
        raise _unavailable(f"it runs on x86-64 only, this machine is {platform.machine()}; attach a phone instead")
    try:
        tried = subprocess.run([*_OWN_NETWORK, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise _unavailable("this machine has no unshare; install util-linux, or attach a phone") from error
    if tried.returncode != 0:
        raise _unavailable(
            f"adbd gives a shell to every caller and must be kept off the network, which this machine does not "
            f"allow ({tried.stderr.strip()}); allow user namespaces, run as root, or attach a phone"
        )


class Adbd:
    """One adb daemon, started by `start` or `with`.

    Args:
        root: The folder with the unpacked Debian packages (`unpack_adbd`).
        folder: Home and working folder of the daemon. Use it as a phone's /data/local/tmp: adbd sees this machine's
            file system.
        port: Port on 127.0.0.1; 0 for any free one. A restart keeps it.
    """

    def __init__(self, root: Path, folder: Path, port: int = 0) -> None:
        self._command = command(root, "adbd")
        self.root, self.folder = root, folder
        self.port = port
        self.pid = 0
        self._cage: subprocess.Popen[str] | None = None

    @property
    def address(self) -> Address:
        """Where the daemon is reached."""
        return Address("tcp", f"127.0.0.1:{self.port}")

    def start(self) -> None:
        """Start the daemon and wait until it listens.

        Raises:
            ToolError: `loopback_unavailable`: the port is in use, or the daemon does not start.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            listener = socket.create_server(("127.0.0.1", self.port))
        except OSError as error:
            raise _unavailable(
                f"port {self.port} of 127.0.0.1: {os.strerror(error.errno or 0)}; choose another port"
            ) from error
        with listener:
            self.port = listener.getsockname()[1]
            cage = [sys.executable, "-S", "-E", str(_CAGE), str(listener.fileno()), *self._command]
            with (self.folder / "adbd.log").open("a") as log:
                self._cage = subprocess.Popen(
                    [*_OWN_NETWORK, *cage],
                    cwd=self.folder,
                    env={**os.environ, "HOME": str(self.folder)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    pass_fds=(listener.fileno(),),
                    text=True,
                    start_new_session=True,  # Ctrl-C in the terminal is for the process that stops the daemon.
                )
        assert self._cage.stdout is not None
        pid = self._cage.stdout.readline()
        if not pid:
            self.stop()
            raise _unavailable(f"adbd did not start: {(self.folder / 'adbd.log').read_text()[-2000:]}")
        self.pid = int(pid)

    def kill(self) -> None:
        """End adbd at once; the port is closed when this returns."""
        assert self._cage is not None
        os.kill(self.pid, signal.SIGKILL)
        self._cage.wait(10)

    def freeze(self) -> None:
        """Stop adbd's process, as a phone that hangs."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue a frozen adbd."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Kill it if it still runs, and start another on the same port."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End the daemon, frozen or not; stopping twice is allowed."""
        if self._cage is not None:
            self._cage.kill()  # adbd dies with it.
            self._cage.communicate()
            self._cage = None
            while self.pid and _runs(self.pid):
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
    except (FileNotFoundError, ProcessLookupError):
        return False


def _unavailable(reason: str) -> ToolError:
    return ToolError("loopback_unavailable", f"loopback phone: {reason}")
