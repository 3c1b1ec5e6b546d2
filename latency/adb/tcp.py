"""adb over TCP: a transport for adb-shell.

adb-shell's own transport leaves Nagle's algorithm on (55 ms for a command that takes 2), takes a partly sent packet for
a sent one, and waits for the time-out when the phone has hung up.
"""

from __future__ import annotations

import contextlib
import socket

from adb_shell.transport.base_transport import BaseTransport

from latency.errors import PhoneError, PhoneGoneError, PhoneTimeoutError


class TcpTransport(BaseTransport):  # type: ignore[misc]  # adb-shell has no types.
    """One TCP connection; every method raises PhoneError (`phone_gone`, `timeout`).

    The messages do not name the phone; the caller adds its name.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None

    def connect(self, transport_timeout_s: float) -> None:
        """Connect within that many seconds."""
        try:
            self._socket = socket.create_connection((self._host, self._port), timeout=transport_timeout_s)
        except TimeoutError as error:
            raise PhoneTimeoutError(
                f"no connection within {transport_timeout_s:g} s; is the phone on this network, and awake?",
            ) from error
        except OSError as error:
            raise PhoneGoneError(
                f"no connection: {error.strerror or error}; is adb over TCP on (adb tcpip 5555), "
                "and are host and port right?",
            ) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def bulk_read(self, numbytes: int, transport_timeout_s: float) -> bytes:
        """Return at least one byte and at most `numbytes`."""
        connected = self._connected(transport_timeout_s)
        try:
            data = connected.recv(numbytes)
        except TimeoutError as error:
            raise PhoneTimeoutError("no answer in time") from error
        except OSError as error:
            raise self._gone(str(error.strerror)) from error
        if not data:
            raise self._gone("the phone closed it")
        return data

    def bulk_write(self, data: bytes, transport_timeout_s: float) -> int:
        """Send all of `data`; return its length."""
        try:
            self._connected(transport_timeout_s).sendall(data)
        except TimeoutError as error:
            raise PhoneTimeoutError("it takes no more data") from error
        except OSError as error:
            raise self._gone(str(error.strerror)) from error
        return len(data)

    def close(self) -> None:
        """Close the connection; closing twice is allowed."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # The phone may have hung up first.
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None

    def _connected(self, timeout_s: float) -> socket.socket:
        if self._socket is None:
            raise self._gone("it is closed")
        self._socket.settimeout(timeout_s)
        return self._socket

    def _gone(self, reason: str) -> PhoneError:
        return PhoneGoneError(f"the connection is lost: {reason}; connect again")
