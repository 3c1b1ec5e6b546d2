"""A TCP proxy that can be told to fail: what goes wrong between a host and a phone."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from latency.adb.address import Address

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s.

AnyProxy = TypeVar("AnyProxy", bound="Proxy")


class Proxy:
    """Stands before `upstream`, on a free port of the loopback; started by `with`."""

    def __init__(self, upstream: Address) -> None:
        self._upstream = upstream
        self._flowing = threading.Event()
        self._flowing.set()
        self._ends: list[socket.socket] = []
        self._passed = 0
        self._damage = threading.Event()
        self._trigger: tuple[int, Callable[[], None]] | None = None

    @property
    def address(self) -> Address:
        return Address("tcp", f"127.0.0.1:{self._listener.getsockname()[1]}")

    def cut(self) -> None:
        """Reset all connections, as a network does that has forgotten them."""
        while self._ends:
            end = self._ends.pop()
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                end.shutdown(socket.SHUT_RDWR)  # Wakes the thread that reads from it.
            end.close()

    def stall(self) -> None:
        """Pass nothing on any more, without a word, as a network does whose cable is out."""
        self._flowing.clear()

    def damage(self) -> None:
        """Change the last byte of what the phone says next."""
        self._damage.set()

    def after(self, upstream_bytes: int, action: Callable[[], None]) -> None:
        """Call `action` once so many more bytes have gone to the phone, before any further one does."""
        self._trigger = (self._passed + upstream_bytes, action)

    def _admit(self, outside: socket.socket) -> bytes:
        """Talk to a newcomer before the phone does; returns what has been read of its words to the phone."""
        return b""

    def _serve(self) -> None:
        while True:
            try:
                outside, _ = self._listener.accept()
            except OSError:
                return
            self._ends.append(outside)
            threading.Thread(target=self._connect, args=(outside,), daemon=True).start()

    def _connect(self, outside: socket.socket) -> None:
        try:
            first_words = self._admit(outside)
            inside = socket.create_connection(self._upstream.host_and_port)
            inside.sendall(first_words)
        except OSError:
            outside.close()
            return
        self._ends.append(inside)
        for end in (outside, inside):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._carry, args=(outside, inside, True), daemon=True).start()
        threading.Thread(target=self._carry, args=(inside, outside, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, to_phone: bool) -> None:
        with contextlib.suppress(OSError):  # The connection ends, here or there.
            while data := source.recv(1 << 16):
                self._flowing.wait()
                if to_phone:
                    self._passed += len(data)
                    if self._trigger is not None and self._passed >= self._trigger[0]:
                        action, self._trigger = self._trigger[1], None
                        action()
                        self._flowing.wait()
                elif self._damage.is_set():
                    self._damage.clear()
                    data = data[:-1] + bytes([data[-1] ^ 1])
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self: AnyProxy) -> AnyProxy:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._flowing.set()
