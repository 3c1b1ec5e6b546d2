"""Files to and from the phone: adb's sync protocol.

It is described in Android's `packages/modules/adb/SYNC.TXT`.

A packet is an id (4 letters), a number (4 bytes, little-endian) and, in most cases, that many bytes.
"""

from __future__ import annotations

import struct
import time
from typing import BinaryIO

from latency.adb.connection import Connection, Deadline, Stream
from latency.errors import PhoneGoneError, ToolError

_PACKET = struct.Struct("<4sI")
_CHUNK_BYTES = 1 << 16  # The most that adbd takes.


class FileError(Exception):
    """adbd cannot read or write the file; the message is adbd's."""


def send(connection: Connection, source: BinaryIO, remote_path: str, mode: int, deadline: Deadline) -> None:
    """Write a file of the phone with these permission bits.

    Raises:
        FileError: adbd cannot write it.
        LatencyError: As a stream does.
    """
    stream = connection.open("sync:", deadline)
    target = f"{remote_path},{0o100000 | mode}".encode()
    stream.write(_PACKET.pack(b"SEND", len(target)) + target, deadline)
    while chunk := source.read(_CHUNK_BYTES):
        stream.write(_PACKET.pack(b"DATA", len(chunk)) + chunk, deadline)
        if stream.has_input(deadline):  # Before the end it can only be an error; adbd drops the rest.
            break
    else:
        stream.write(_PACKET.pack(b"DONE", int(time.time())), deadline)
    reader = _Reader(stream, deadline)
    kind, size = reader.packet()
    if kind != b"OKAY":
        raise _failure(kind, reader.read(size))
    stream.close(deadline)


def receive(connection: Connection, remote_path: str, deadline: Deadline) -> bytes:
    """Return the content of a file of the phone.

    Raises:
        FileError: adbd cannot read it.
        LatencyError: As a stream does.
    """
    stream = connection.open("sync:", deadline)
    target = remote_path.encode()
    stream.write(_PACKET.pack(b"RECV", len(target)) + target, deadline)
    reader = _Reader(stream, deadline)
    content = bytearray()
    while True:
        kind, size = reader.packet()
        if kind == b"DONE":
            stream.close(deadline)
            return bytes(content)
        piece = reader.read(size)
        if kind != b"DATA":
            raise _failure(kind, piece)
        content += piece


def _failure(kind: bytes, reason: bytes) -> Exception:
    if kind == b"FAIL":
        return FileError(reason.decode(errors="replace"))
    return ToolError("adb_protocol", f"adbd sent {kind!r}, which has no meaning there; connect again")


class _Reader:
    """Reads packets from a stream that gives pieces of any size."""

    def __init__(self, stream: Stream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self._received = bytearray()

    def packet(self) -> tuple[bytes, int]:
        """Return id and number of the next packet."""
        kind, size = _PACKET.unpack(self.read(_PACKET.size))
        return kind, size

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        while len(self._received) < size:
            piece = self._stream.read(self._deadline)
            if not piece:
                raise PhoneGoneError(f"{self._deadline.operation}: adbd ended it in the middle")
            self._received += piece
        data = bytes(self._received[:size])
        del self._received[:size]
        return data
