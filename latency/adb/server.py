"""Phones through an adb server that runs on this host and owns them.

`adb start-server` and Android Studio start such a server.

mnas talks to the server; it starts none and ends none. (adbutils starts one when none answers, which then takes every
phone on USB from its other users.) The protocol is Android's `SERVICES.TXT`: a request is its length in 4 hexadecimal
digits and its text; the answer is OKAY or FAIL.
"""

from __future__ import annotations

import os
import select
import socket
from dataclasses import dataclass

from latency.adb.connection import Deadline
from latency.errors import LatencyError, PhoneError, PhoneGoneError, ToolError


@dataclass(frozen=True)
class ServerDevice:
    """A line of `adb devices -l`.

    Attributes:
        serial: Serial number, the server's name for the phone.
        state: The server's word: device, offline, unauthorized, no permissions...
        model: Model, None if the server does not know it.
    """

    serial: str
    state: str
    model: str | None


def server_port() -> int:
    """Return the port of this host's adb server: ANDROID_ADB_SERVER_PORT, else 5037.

    Raises:
        ToolError: `adb_protocol`: the variable is not a port.
    """
    text = os.environ.get("ANDROID_ADB_SERVER_PORT", "5037")
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ToolError(
            "adb_protocol", f"ANDROID_ADB_SERVER_PORT is {text!r}; it must be a port number from 1 to 65535"
        )
    return int(text)


def server_devices(timeout_s: float = 2.0) -> list[ServerDevice]:
    """Return the devices of the adb server; none if no server runs.

    Raises:
        PhoneError: `timeout`.
        ToolError: `adb_protocol`.
    """
    deadline = Deadline.after(timeout_s, "ask the adb server for its devices")
    try:
        stream = _connect(deadline)
    except PhoneGoneError:
        return []
    try:
        _request(stream, "host:devices-l", "adb server", deadline)
        listing = _counted_text(stream, "adb server", deadline)
    finally:
        stream.close(deadline)
    return [_parse_device(line) for line in listing.splitlines() if line.strip()]


class ServerConnection:
    """See Connection; `serial` is the server's name for the phone. Made by `connect_to_server`."""

    def __init__(self, serial: str) -> None:
        self._serial = serial
        self._stream: SocketStream | None = None

    def open(self, service: str, deadline: Deadline) -> SocketStream:
        """See Connection."""
        self.close()
        stream = _connect(deadline)
        try:
            _request(stream, f"host:transport:{self._serial}", f"server:{self._serial}", deadline)
            if service:
                _request(stream, service, f"server:{self._serial}", deadline)
        except BaseException:
            stream.close(deadline)
            raise
        self._stream = stream
        return stream

    def close(self) -> None:
        """See Connection."""
        if self._stream is not None:
            self._stream.socket.close()
            self._stream = None


def connect_to_server(serial: str, timeout_s: float) -> ServerConnection:
    """Return a connection to the phone `serial` of this host's adb server.

    Raises:
        PhoneError: `phone_gone` (also when no server runs), `phone_offline`, `phone_unauthorized`,
            `phone_no_permission`, `timeout`.
    """
    connection = ServerConnection(serial)
    # Not the list of devices but an answer of the phone itself: a frozen one stays on the list.
    deadline = Deadline.after(timeout_s, f"server:{serial}: connect")
    stream = connection.open("shell,v2,raw:true", deadline)
    while stream.read(deadline):
        pass
    connection.close()
    return connection


class SocketStream:
    """See Stream: after its requests, a connection to the server is a stream to the phone."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected

    def read(self, deadline: Deadline) -> bytes:
        """See Stream."""
        self.socket.settimeout(deadline.remaining_s())
        try:
            return self.socket.recv(1 << 18)
        except TimeoutError as error:
            raise deadline.missed() from error
        except ConnectionResetError:
            return b""
        except OSError as error:
            raise PhoneGoneError(f"{deadline.operation}: {error.strerror}; connect again") from error

    def read_exactly(self, size: int, deadline: Deadline) -> bytes:
        """Return exactly `size` bytes.

        Raises:
            PhoneError: As `read` does, and when the server hangs up first.
        """
        received = bytearray()
        while len(received) < size:
            self.socket.settimeout(deadline.remaining_s())
            try:
                piece = self.socket.recv(size - len(received))
            except TimeoutError as error:
                raise deadline.missed() from error
            except OSError as error:
                raise PhoneGoneError(f"{deadline.operation}: {error.strerror}; connect again") from error
            if not piece:
                raise PhoneGoneError(f"{deadline.operation}: the adb server hung up; connect again")
            received += piece
        return bytes(received)

    def write(self, data: bytes, deadline: Deadline) -> None:
        """See Stream."""
        self.socket.settimeout(deadline.remaining_s())
        try:
            self.socket.sendall(data)
        except TimeoutError as error:
            raise deadline.missed() from error
        except (BrokenPipeError, ConnectionResetError):
            return
        except OSError as error:
            raise PhoneGoneError(f"{deadline.operation}: {error.strerror}; connect again") from error

    def has_input(self, deadline: Deadline) -> bool:
        """See Stream."""
        arrived = select.poll()  # Unlike select(), it takes descriptors above 1023.
        arrived.register(self.socket, select.POLLIN)
        return bool(arrived.poll(0))

    def close(self, deadline: Deadline) -> None:
        """See Stream."""
        self.socket.close()


def _connect(deadline: Deadline) -> SocketStream:
    port = server_port()
    try:
        connected = socket.create_connection(("127.0.0.1", port), timeout=deadline.remaining_s())
    except TimeoutError as error:
        raise deadline.missed() from error
    except OSError as error:
        raise PhoneGoneError(
            f"no adb server answers on port {port} of this host; start one (adb start-server), or name the phone "
            "by usb:SERIAL or tcp:HOST:PORT",
        ) from error
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketStream(connected)


def _request(stream: SocketStream, text: str, name: str, deadline: Deadline) -> None:
    request = text.encode()
    stream.write(f"{len(request):04x}".encode() + request, deadline)
    answer = stream.read_exactly(4, deadline)
    if answer == b"OKAY":
        return
    if answer != b"FAIL":
        raise ToolError("adb_protocol", f"{name}: {answer!r} is no answer of an adb server; is it one?")
    raise _refusal(name, _counted_text(stream, name, deadline))


def _counted_text(stream: SocketStream, name: str, deadline: Deadline) -> str:
    count = stream.read_exactly(4, deadline)
    try:
        return stream.read_exactly(int(count, 16), deadline).decode(errors="replace")
    except ValueError as error:
        raise ToolError("adb_protocol", f"{name}: {count!r} is no length of a text; is it an adb server?") from error


def _refusal(name: str, reason: str) -> LatencyError:
    """Return the error for what an adb server says about a phone that it cannot use."""
    first_line = reason.partition("\n")[0]
    if "unauthorized" in reason or "authorizing" in reason:
        remedy = "unlock the phone and accept the prompt"
        return PhoneError("phone_unauthorized", f"{name}: {first_line}; {remedy}")
    if "offline" in reason or "connecting" in reason:
        remedy = "plug it in again, or try adb reconnect offline"
        return PhoneError("phone_offline", f"{name}: {first_line}; {remedy}")
    if "permissions" in reason:
        remedy = "add a udev rule for it and restart the adb server (developer.android.com/studio/run/device)"
        return PhoneError("phone_no_permission", f"{name}: {first_line}; {remedy}")
    if "not found" in reason or "closed" in reason:
        remedy = "is it attached, and Android 7 or newer? adb devices shows what the server has"
        return PhoneGoneError(f"{name}: the adb server says: {first_line}; {remedy}")
    return ToolError("adb_protocol", f"{name}: the adb server says: {first_line}")


def _parse_device(line: str) -> ServerDevice:
    serial, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    state = "no permissions" if rest.startswith("no permissions") else rest.partition(" ")[0]
    models = [word.removeprefix("model:") for word in rest.split() if word.startswith("model:")]
    return ServerDevice(serial, state, models[0] if models else None)
