"""Files to and from the phone: adb's sync protocol.

It is described in Android's `packages/modules/adb/SYNC.TXT`.

A packet is an id (4 letters), a number (4 bytes, little-endian) and, in most cases, that many bytes.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from typing import BinaryIO

from latency.adb.connection import Connection, Deadline, ExactReader
from latency.errors import ToolError

_PACKET = struct.Struct("<4sI")
_CHUNK_BYTES = 1 << 16  # The most that adbd takes, and sends.
_CHUNKS_AT_ONCE = 15
"""Chunks in one write: adbd confirms a packet of its connection, which has at most 1 MiB, not a chunk."""
MAX_FILE_BYTES = 1 << 26
"""The largest file that is read from a phone."""

_MAX_REASON = 500
_CUT = "adbd ended it in the middle"


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
    while data := source.read(_CHUNKS_AT_ONCE * _CHUNK_BYTES):
        stream.write(b"".join(_data_packets(data)), deadline)
        if stream.has_input(deadline):  # Before the end it can only be an error; adbd drops the rest.
            break
    else:
        stream.write(_PACKET.pack(b"DONE", int(time.time())), deadline)
    reader = ExactReader(stream, deadline, _CUT)
    kind, size = _PACKET.unpack(reader.read(_PACKET.size))
    if kind != b"OKAY":
        raise _failure(kind, size, reader, deadline)
    stream.close(deadline)


def _data_packets(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _CHUNK_BYTES):
        chunk = data[start : start + _CHUNK_BYTES]
        yield _PACKET.pack(b"DATA", len(chunk)) + chunk


def receive(connection: Connection, remote_path: str, deadline: Deadline) -> bytes:
    """Return the content of a file of the phone.

    Raises:
        FileError: adbd cannot read it, or it has more than `MAX_FILE_BYTES`.
        LatencyError: As a stream does.
    """
    stream = connection.open("sync:", deadline)
    target = remote_path.encode()
    stream.write(_PACKET.pack(b"RECV", len(target)) + target, deadline)
    reader = ExactReader(stream, deadline, _CUT)
    content = bytearray()
    while True:
        kind, size = _PACKET.unpack(reader.read(_PACKET.size))
        if kind == b"DONE":
            stream.close(deadline)
            return bytes(content)
        if kind != b"DATA" or size > _CHUNK_BYTES:
            raise _failure(kind, size, reader, deadline)
        content += reader.read(size)
        if len(content) > MAX_FILE_BYTES:
            raise FileError(f"the file has more than {MAX_FILE_BYTES} bytes")


def _failure(kind: bytes, size: int, reader: ExactReader, deadline: Deadline) -> Exception:
    if kind == b"FAIL" and size <= _CHUNK_BYTES:
        return FileError(reader.read(size).decode(errors="replace")[:_MAX_REASON])
    return ToolError(
        "adb_protocol", f"{deadline.operation}: adbd sent {kind!r} with {size} bytes, which has no meaning there"
    )
