"""An adb server that is told what to list and how each phone answers, for states that a real one cannot be given."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType

from tests.latency.adb.fake_transport import SHELL

SILENT = "silent"
"""As what a phone says: nothing."""


class FakeServer:
    """Lists phones (`serial`, `rest of the long line`), and answers `host:transport...` by the target.

    Args:
        phones: What `adb devices -l` shows.
        answers: By target: what a shell command prints; `SILENT`, or `FAIL ...`.
        silent: Whether it takes connections and says nothing.
        path: A Unix socket to listen on instead of a port.
    """

    def __init__(
        self,
        phones: Sequence[tuple[str, str]] = (),
        answers: Mapping[str, str] = {},
        *,
        silent: bool = False,
        path: str | None = None,
    ) -> None:
        self._phones = phones
        self._answers = answers
        self._silent = silent
        self._path = path
        self.requests: list[str] = []
        self.port = 0

    def __enter__(self) -> FakeServer:
        if self._path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.port = self._listener.getsockname()[1]
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(self._path)
            self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connected,), daemon=True).start()

    def _talk(self, connected: socket.socket) -> None:
        target = ""
        with connected:
            while count := connected.recv(4):
                request = connected.recv(int(count, 16)).decode()
                self.requests.append(request)
                if self._silent:
                    continue
                if request.startswith("host:devices"):
                    long = request.endswith("-l")
                    lines = [
                        f"{serial:<22} {rest}" if long else f"{serial}\t{rest.split()[0]}"
                        for serial, rest in self._phones
                    ]
                    text = "".join(f"{line}\n" for line in lines)
                    connected.sendall(b"OKAY" + f"{len(text):04x}{text}".encode())
                    return
                if request.startswith("host:transport"):
                    target = request.partition(":")[2].partition(":")[2]
                answer = self._answers.get(target, "FAIL device not found")
                if answer.startswith("FAIL "):
                    connected.sendall(b"FAIL" + f"{len(answer) - 5:04x}{answer[5:]}".encode())
                    return
                connected.sendall(b"OKAY")
                if request.startswith("shell") and answer != SILENT:
                    connected.sendall(SHELL.pack(1, len(answer)) + answer.encode() + SHELL.pack(3, 1) + b"\0")
                    return
