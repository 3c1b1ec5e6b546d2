"""The interface of every way to a phone.

A connection opens streams to the services of adbd.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from latency.errors import PhoneError, PhoneGoneError, PhoneTimeoutError


@dataclass(frozen=True)
class Deadline:
    """The time by which an operation must be done.

    Attributes:
        operation: What is done, for the error.
        timeout_s: The time that the operation was given.
        at: The deadline, in seconds of time.monotonic().
    """

    operation: str
    timeout_s: float
    at: float

    @classmethod
    def after(cls, timeout_s: float, operation: str) -> Deadline:
        """Return the deadline `timeout_s` seconds from now."""
        return cls(operation, timeout_s, time.monotonic() + timeout_s)

    def remaining_s(self) -> float:
        """Return the seconds left, more than 0.

        Raises:
            PhoneTimeoutError: There are none.
        """
        left_s = self.at - time.monotonic()
        if left_s <= 0:
            raise self.missed()
        return left_s

    def missed(self) -> PhoneError:
        """Return the error for an operation that was not done in time."""
        return PhoneTimeoutError(f"{self.operation}: not done within {self.timeout_s:g} s")


class Stream(Protocol):
    """A two-way stream of bytes to one service of the phone.

    Every method raises PhoneError: `timeout` at the deadline, `phone_gone` when the connection is lost.
    """

    def read(self, deadline: Deadline) -> bytes:
        """Return the next bytes, as many as have arrived.

        B"" after the service has closed the stream.
        """
        ...

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Send all of `data`.

        What the service no longer takes is dropped, and `read` tells how it ended.
        """
        ...

    def has_input(self, deadline: Deadline) -> bool:
        """Return whether `read` would return without waiting for the phone."""
        ...

    def close(self, deadline: Deadline) -> None:
        """Close the stream."""
        ...


class ExactReader:
    """Reads whole packets from a stream that gives pieces of any size.

    It holds what was asked for and one piece more, whatever size a packet claims: check the size first.

    Args:
        stream: The stream.
        deadline: When the operation must be done.
        cut: What to say if the phone ends the stream before the end.
    """

    def __init__(self, stream: Stream, deadline: Deadline, cut: str) -> None:
        self._stream = stream
        self._deadline = deadline
        self._cut = cut
        self._received = bytearray()

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises:
            PhoneError: `phone_gone`: the stream ends first. As the stream does.
        """
        while len(self._received) < size:
            piece = self._stream.read(self._deadline)
            if not piece:
                raise PhoneGoneError(f"{self._deadline.operation}: {self._cut}")
            self._received += piece
        data = bytes(self._received[:size])
        del self._received[:size]
        return data


class Connection(Protocol):
    """A phone that is connected and has accepted this host.

    It serves one stream at a time.
    """

    def open(self, service: str, deadline: Deadline) -> Stream:
        """Start a service of adbd, such as "shell,v2,raw:uname".

        Raises:
            PhoneError: As a stream does.
            ToolError: `adb_protocol`: the phone does not have the service.
        """
        ...

    def close(self) -> None:
        """Close the connection; closing twice is allowed. Raise nothing."""
        ...
