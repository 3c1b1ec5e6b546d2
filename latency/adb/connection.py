"""What every way to a phone provides: a connection that opens streams to the services of adbd."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from latency.errors import PhoneError, PhoneTimeoutError


@dataclass(frozen=True)
class Deadline:
    """The moment by which an operation has to be done, and what the operation is, for the error."""

    operation: str
    timeout_s: float
    at: float
    """In seconds of time.monotonic()."""

    @classmethod
    def after(cls, timeout_s: float, operation: str) -> Deadline:
        """`timeout_s` seconds from now."""
        return cls(operation, timeout_s, time.monotonic() + timeout_s)

    def remaining_s(self) -> float:
        """Seconds left, more than 0. Raises PhoneError (`timeout`) when there are none."""
        left_s = self.at - time.monotonic()
        if left_s <= 0:
            raise self.missed()
        return left_s

    def missed(self) -> PhoneError:
        """The error for an operation that was not done in time."""
        return PhoneTimeoutError(f"{self.operation}: not done within {self.timeout_s:g} s")


class Stream(Protocol):
    """A two-way stream of bytes to one service of the phone.

    Every method raises PhoneError: `timeout` at the deadline, `phone_gone` when the connection is lost.
    """

    def read(self, deadline: Deadline) -> bytes:
        """The next bytes, as many as there are; b"" after the service has closed the stream."""
        ...

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Send all of `data`. What the service no longer takes is dropped: `read` says how it ended."""
        ...

    def has_input(self, deadline: Deadline) -> bool:
        """Whether `read` would return without waiting for the phone."""
        ...

    def close(self, deadline: Deadline) -> None:
        """Give the stream up."""
        ...


class Connection(Protocol):
    """A phone that is connected and has let us in. It serves one stream at a time."""

    def open(self, service: str, deadline: Deadline) -> Stream:
        """Start a service of adbd, as "shell,v2,raw:uname".

        Raises PhoneError as a stream does, ToolError (`adb_protocol`) when the phone does not have the service.
        """
        ...

    def close(self) -> None:
        """Hang up; closing twice is allowed. Raises nothing."""
        ...
