"""adb's own packet protocol, for phones that are reached without an adb server.

adb-shell does the greeting and the authorisation. Its streams are not used: they take a refused service for silence,
lose the error that adbd reports in the middle of a push, and have neither exit status nor standard error. The protocol
is Android's `packages/modules/adb/protocol.txt`.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from latency.adb.connection import Deadline
from latency.errors import PhoneError, PhoneTimeoutError, ToolError

_HEADER = struct.Struct("<6I")
_CODES = {name: int.from_bytes(name, "little") for name in (b"OPEN", b"OKAY", b"WRTE", b"CLSE")}
# What a phone sends in a stream. It opens no stream to this host, which has asked for no port forwarding.
_ANSWERS = {_CODES[name]: name for name in (b"OKAY", b"WRTE", b"CLSE")}
_MAX_PAYLOAD = 1 << 20  # Of any adb version.
_MAX_UNREAD = 4 * _MAX_PAYLOAD
"""Bytes that a stream keeps for its reader. adbd sends a packet when the one before is confirmed: more is a flood."""


class DirectConnection:
    """Streams over a transport of adb-shell, after the greeting.

    It uses the transport's `bulk_read` and `bulk_write`.

    Args:
        transport: The transport.
        name: The phone's name, for errors.
        max_payload: What the phone takes in one packet, in bytes.
    """

    def __init__(self, transport: Any, name: str, max_payload: int) -> None:
        self._transport = transport
        self._name = name
        self._max_payload = max_payload
        self._last_id = 0

    def open(self, service: str, deadline: Deadline) -> DirectStream:
        """See Connection."""
        self._last_id += 1
        stream = DirectStream(self, self._last_id, self._max_payload)
        self.send(b"OPEN", self._last_id, 0, service.encode() + b"\0", deadline)
        if not stream.wait_until_open(deadline):
            raise ToolError(
                "adb_protocol",
                f"{self._name}: adbd refuses the service {service.partition(':')[0]!r}; Android 7 or newer is needed",
            )
        return stream

    def close(self) -> None:
        """See Connection."""
        self._transport.close()

    def send(self, command: bytes, local_id: int, remote_id: int, payload: bytes, deadline: Deadline) -> None:
        """Send one packet."""
        code = _CODES[command]
        # The checksum is the sum of all bytes.
        checksum = int(np.frombuffer(payload, np.uint8).sum(dtype=np.uint32))
        header = _HEADER.pack(code, local_id, remote_id, len(payload), checksum, code ^ 0xFFFFFFFF)
        self._write(header, deadline)
        if payload:  # As a transfer of its own, which adbd expects over USB.
            self._write(payload, deadline)

    def receive(self, deadline: Deadline) -> tuple[bytes, int, int, bytes]:
        """Receive one packet.

        Returns:
            The command, the phone's stream id, our stream id, the payload.

        Raises:
            ToolError: `adb_protocol`: it is not a whole packet of adb.
        """
        code, remote_id, local_id, size, checksum, inverted_code = _HEADER.unpack(self._read(_HEADER.size, deadline))
        if inverted_code != code ^ 0xFFFFFFFF:
            raise self._wrong("what adbd sent is not an adb packet")
        if code not in _ANSWERS:
            raise self._wrong(f"adbd sent the command {code.to_bytes(4, 'little')!r}, which belongs to no stream")
        if size > _MAX_PAYLOAD:
            raise self._wrong(f"adbd announces a packet of {size} bytes; one has at most {_MAX_PAYLOAD}")
        if not 0 < local_id <= self._last_id:
            raise self._wrong(f"adbd sent a packet for the stream {local_id}, which was never opened")
        payload = self._read(size, deadline)
        if int(np.frombuffer(payload, np.uint8).sum(dtype=np.uint32)) != checksum:
            raise self._wrong("a packet arrived damaged")
        return _ANSWERS[code], remote_id, local_id, payload

    def _wrong(self, what: str) -> ToolError:
        return ToolError("adb_protocol", f"{self._name}: {what}; connect again")

    def _read(self, size: int, deadline: Deadline) -> bytes:
        received = bytearray()
        while len(received) < size:
            with _naming(deadline):
                received += self._transport.bulk_read(size - len(received), deadline.remaining_s())
        return bytes(received)

    def _write(self, data: bytes, deadline: Deadline) -> None:
        with _naming(deadline):
            self._transport.bulk_write(data, deadline.remaining_s())


class DirectStream:
    """See Stream."""

    def __init__(self, connection: DirectConnection, local_id: int, max_payload: int) -> None:
        self._connection = connection
        self._local_id = local_id
        self._max_payload = max_payload
        self._remote_id: int | None = None
        self._received: deque[bytes] = deque()
        self._unread = 0
        self._may_write = False  # adbd confirms each packet before it takes the next.
        self._closed_by_phone = False

    def wait_until_open(self, deadline: Deadline) -> bool:
        """Wait for the phone's answer; return whether it opened the stream."""
        while self._remote_id is None and not self._closed_by_phone:
            self._receive(deadline)
        return self._remote_id is not None

    def read(self, deadline: Deadline) -> bytes:
        """See Stream."""
        while not self._received and not self._closed_by_phone:
            self._receive(deadline)
        if not self._received:
            return b""
        payload = self._received.popleft()
        self._unread -= len(payload)
        return payload

    def write(self, data: bytes, deadline: Deadline) -> None:
        """See Stream."""
        for start in range(0, len(data), self._max_payload):
            while not self._may_write and not self._closed_by_phone:
                self._receive(deadline)
            if self._closed_by_phone:
                return
            self._may_write = False
            self._send(b"WRTE", data[start : start + self._max_payload], deadline)

    def has_input(self, deadline: Deadline) -> bool:
        """See Stream; answers once the last packet written is confirmed, since adbd's complaint may come before."""
        while not (self._may_write or self._received or self._closed_by_phone):
            self._receive(deadline)
        return bool(self._received) or self._closed_by_phone

    def close(self, deadline: Deadline) -> None:
        """See Stream."""
        self._send(b"CLSE", b"", deadline)

    def _send(self, command: bytes, payload: bytes, deadline: Deadline) -> None:
        if self._remote_id is None:
            raise ToolError("adb_protocol", f"{deadline.operation}: adbd uses a stream before it opens it")
        self._connection.send(command, self._local_id, self._remote_id, payload, deadline)

    def _receive(self, deadline: Deadline) -> None:
        command, remote_id, local_id, payload = self._connection.receive(deadline)
        if local_id != self._local_id:
            return  # The tail of an earlier stream.
        # The id of a service that was refused is 0; old versions of adb close any stream by 0.
        opens = command == b"OKAY" and self._remote_id is None and remote_id != 0
        if remote_id != self._remote_id and not opens and not (command == b"CLSE" and remote_id == 0):
            raise ToolError(
                "adb_protocol",
                f"{deadline.operation}: adbd sent {command.decode()} from its stream {remote_id}, which is not the one "
                "that it opened; connect again",
            )
        if command == b"OKAY":
            self._remote_id = remote_id
            self._may_write = True
        elif command == b"WRTE":
            self._unread += len(payload)
            if self._unread > _MAX_UNREAD:
                raise ToolError(
                    "adb_protocol",
                    f"{deadline.operation}: adbd sends on and on without taking what is sent to it; connect again",
                )
            self._received.append(payload)
            self._send(b"OKAY", b"", deadline)
        else:
            self._closed_by_phone = True


@contextmanager
def _naming(deadline: Deadline) -> Iterator[None]:
    """Name the operation and its whole time in errors; transports know neither."""
    try:
        yield
    except PhoneTimeoutError as error:
        raise deadline.missed() from error
    except PhoneError as error:
        raise error.with_message(f"{deadline.operation}: {error}") from error
