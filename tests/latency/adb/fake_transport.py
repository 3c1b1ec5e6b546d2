"""A transport that plays adbd from prepared bytes: what a hostile or broken phone sends."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from latency.adb.connection import Deadline
from latency.adb.device import AdbDevice
from latency.adb.direct import DirectConnection
from latency.errors import PhoneGoneError, PhoneTimeoutError

HEADER = struct.Struct("<6I")
SHELL = struct.Struct("<BI")


def packet(command: bytes, from_id: int, to_id: int, payload: bytes = b"", **changes: int) -> bytes:
    """A packet as adbd sends it; `size`, `checksum` and `magic` can be wrong."""
    code = int.from_bytes(command, "little")
    size = changes.get("size", len(payload))
    checksum = changes.get("checksum", sum(payload) & 0xFFFFFFFF)
    return HEADER.pack(code, from_id, to_id, size, checksum, changes.get("magic", code ^ 0xFFFFFFFF)) + payload


class FakeTransport:
    """Gives the bytes in pieces of `piece`, then `end`: the phone hangs up, or says nothing more.

    Attributes:
        asked: The largest number of bytes that was asked for at once.
        given: The bytes that were given.
        written: What was written, each write apart.
    """

    def __init__(self, pieces: Iterator[bytes], *, gone: bool = True) -> None:
        self._pieces = pieces
        self._rest = b""
        self._gone = gone
        self.asked = 0
        self.given = 0
        self.written: list[bytes] = []
        self.closed = False

    def connect(self, transport_timeout_s: float) -> None:
        pass

    def bulk_read(self, numbytes: int, transport_timeout_s: float) -> bytes:
        self.asked = max(self.asked, numbytes)
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                raise PhoneGoneError("the phone closed it") if self._gone else PhoneTimeoutError("no answer in time")
            self._rest = piece
        data, self._rest = self._rest[:numbytes], self._rest[numbytes:]
        self.given += len(data)
        return data

    def bulk_write(self, data: bytes, transport_timeout_s: float) -> int:
        self.written.append(bytes(data))
        return len(data)

    def close(self) -> None:
        self.closed = True


def device_that_sends(*pieces: bytes, then: Callable[[], Iterator[bytes]] = lambda: iter(())) -> AdbDevice:
    """A greeted phone that sends these bytes whatever it is asked."""

    def sent() -> Iterator[bytes]:
        yield from pieces
        yield from then()

    return AdbDevice(DirectConnection(FakeTransport(sent()), "usb:1A2B", 4096), "usb:1A2B")


def soon() -> Deadline:
    return Deadline.after(2, "usb:1A2B: try")
