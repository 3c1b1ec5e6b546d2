"""Phones through an adb server that runs on this host and owns them.

`adb start-server` and Android Studio start such a server.

mnas talks to the server; it starts none and ends none. (adbutils starts one when none answers, which then takes every
phone on USB from its other users.) The protocol is Android's `SERVICES.TXT`: a request is its length in 4 hexadecimal
digits and its text; the answer is OKAY or FAIL.
"""

from __future__ import annotations

import re
import select
import socket
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from latency.adb.connection import Deadline
from latency.adb.server_address import server_address
from latency.adb.states import READY, STATE_WORDS, refusal, state_error
from latency.errors import LatencyError, PhoneGoneError, ToolError

_TRANSPORT_ID = "transport_id:"
# The state follows the serial number and spaces; "no permissions" goes on with a reason.
_STATE = re.compile(rf"(?:^|(?<=\s))(?P<state>{'|'.join(STATE_WORDS)})(?=[\s;(]|$)")
_SAID = re.compile(r"(?:^|(?<=\s))(usb|model|transport_id):(\S+)")


@dataclass(frozen=True)
class ServerDevice:
    """A line of `adb devices -l`.

    Attributes:
        serial: Serial number, or the name of a phone on the network.
        state: The server's word: device, offline, unauthorized, no permissions...
        model: Model, None if the server does not know it.
        port: The USB port, as in `usb:1-4`; None for a phone that is not on USB.
        transport_id: The server's number of the phone until it is plugged in again; None from an old server.
    """

    serial: str
    state: str
    model: str | None = None
    port: str | None = None
    transport_id: int | None = None


@dataclass(frozen=True)
class ServerPhone:
    """A phone of the server, and the target of its address: what tells it from all others.

    Attributes:
        target: The serial number; the USB port or the transport id if another phone has the same serial number.
        device: What the server says about it.
    """

    target: str
    device: ServerDevice


def server_devices(timeout_s: float = 2.0) -> list[ServerDevice]:
    """Return the devices of the adb server; none if no server runs.

    Raises:
        PhoneError: `timeout`.
        ToolError: `adb_protocol`.
    """
    deadline = Deadline.after(timeout_s, _asking_for_devices())
    try:
        listing = _answer("host:devices-l", deadline)
        # Separated by tabs, so that a serial number with spaces is known exactly.
        serials = {line.partition("\t")[0].strip() for line in _answer("host:devices", deadline) if "\t" in line}
    except PhoneGoneError:
        return []
    return [parse_device(line, serials) for line in listing if line.strip()]


def server_phones(timeout_s: float = 2.0) -> list[ServerPhone]:
    """Return the phones of the adb server, each under a target of its own; none if no server runs.

    Raises:
        PhoneError: `timeout`.
        ToolError: `adb_protocol`.
    """
    devices = server_devices(timeout_s)
    shared = {serial for serial, count in Counter(device.serial for device in devices).items() if count > 1}
    return [ServerPhone(_target(device, alone=device.serial not in shared), device) for device in devices]


def _target(device: ServerDevice, *, alone: bool) -> str:
    if alone or (device.port is None and device.transport_id is None):
        return device.serial
    return device.port or f"{_TRANSPORT_ID}{device.transport_id}"


def _asking_for_devices() -> str:
    return f"ask the adb server at {server_address()} for its phones (if it hangs: adb kill-server, adb start-server)"


def _answer(request: str, deadline: Deadline) -> list[str]:
    stream = _connect(deadline)
    try:
        _request(stream, request, "adb server", deadline)
        return _counted_text(stream, "adb server", deadline).splitlines()
    finally:
        stream.close(deadline)


class ServerConnection:
    """See Connection; `target` is the address's, as in `connect_to_server`, which makes it."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._stream: SocketStream | None = None

    def open(self, service: str, deadline: Deadline) -> SocketStream:
        """See Connection."""
        self.close()
        stream = _connect(deadline)
        try:
            _request(stream, _transport_request(self._target), f"server:{self._target}", deadline)
            if service:
                _request(stream, service, f"server:{self._target}", deadline)
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


def connect_to_server(target: str, timeout_s: float) -> ServerConnection:
    """Return a connection to a phone of this host's adb server.

    Args:
        target: Its serial number, USB port (`usb:1-4`) or transport id (`transport_id:3`).
        timeout_s: Time for the connection.

    Raises:
        PhoneError: `phone_gone` (also when no server runs), `phone_offline`, `phone_unauthorized`,
            `phone_no_permission`, `phone_mode`, `timeout`.
    """
    connection = ServerConnection(target)
    # Not the list of devices but an answer of the phone itself: a frozen one stays on the list.
    deadline = Deadline.after(timeout_s, f"server:{target}: connect")
    try:
        stream = connection.open("shell,v2,raw:true", deadline)
    except PhoneGoneError as error:
        if (state := _state_of(target, timeout_s)) not in (None, READY):
            raise state_error(f"server:{target}", state) from error
        raise
    while stream.read(deadline):
        pass
    connection.close()
    return connection


def _state_of(target: str, timeout_s: float) -> str | None:
    """Return the server's word for the state of a phone; None if it does not have it or does not say."""
    try:
        return next((phone.device.state for phone in server_phones(timeout_s) if phone.target == target), None)
    except LatencyError:
        return None


def _transport_request(target: str) -> str:
    if target.startswith(_TRANSPORT_ID):
        return f"host:transport-id:{target.removeprefix(_TRANSPORT_ID)}"
    return f"host:transport:{target}"  # adb takes a USB port, too.


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
    address = server_address()
    try:
        return SocketStream(address.connect(deadline.remaining_s()))
    except TimeoutError as error:
        raise deadline.missed() from error
    except OSError as error:
        raise PhoneGoneError(
            f"no adb server answers at {address}; start one (adb start-server), or name the phone by usb:SERIAL or "
            "tcp:HOST:PORT",
        ) from error


def _request(stream: SocketStream, text: str, name: str, deadline: Deadline) -> None:
    request = text.encode()
    stream.write(f"{len(request):04x}".encode() + request, deadline)
    answer = stream.read_exactly(4, deadline)
    if answer == b"OKAY":
        return
    if answer != b"FAIL":
        raise ToolError("adb_protocol", f"{name}: {answer!r} is no answer of an adb server; is it one?")
    raise refusal(name, _counted_text(stream, name, deadline))


def _counted_text(stream: SocketStream, name: str, deadline: Deadline) -> str:
    count = stream.read_exactly(4, deadline)
    if not re.fullmatch(rb"[0-9a-fA-F]{4}", count):
        raise ToolError("adb_protocol", f"{name}: {count!r} is no length of a text; is it an adb server?")
    return stream.read_exactly(int(count, 16), deadline).decode(errors="replace")


def parse_device(line: str, serials: Collection[str] = ()) -> ServerDevice:
    """Return what a line of `host:devices-l` says.

    >>> parse_device("1A2B3C                 device usb:1-4 product:p model:Pixel_7a device:lynx transport_id:2")
    ServerDevice(serial='1A2B3C', state='device', model='Pixel_7a', port='usb:1-4', transport_id=2)

    Args:
        line: The line.
        serials: The serial numbers that the server has: one with spaces can look like a state.
    """
    line = line.strip()
    for serial in sorted(serials, key=len, reverse=True):
        if line.startswith(f"{serial} ") and (rest := _STATE.match(line[len(serial) :].lstrip())):
            break
    else:
        serial, rest = line, _STATE.search(line)
        if rest is None:
            serial, _, word = line.partition(" ")
            return ServerDevice(serial, word.split()[0] if word.split() else "unknown")
        serial = line[: rest.start()].strip()
    said = dict(_SAID.findall(line[len(serial) :]))
    number = said.get("transport_id", "")
    return ServerDevice(
        serial=serial,
        state=rest["state"],
        model=said.get("model"),
        port=f"usb:{said['usb']}" if "usb" in said else None,
        transport_id=int(number) if re.fullmatch(r"[0-9]{1,18}", number) else None,
    )
