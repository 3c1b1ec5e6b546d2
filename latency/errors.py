"""What can go wrong in a measurement, and whose fault it is.

Only a `CandidateError` counts against the network that was measured. The other two are about the phone and
about this program: a caller retries them, here or on another phone, and never turns them into a latency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latency.record import LatencyRecord


class LatencyError(Exception):
    """Base of the measurement errors; `kind` is a stable word for programs, the message is for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)  # Both in args, so that the error survives a copy between processes.
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


class CandidateError(LatencyError):
    """The model itself fails on a healthy runner.

    Kind: `model_rejected`. `stage` says where: `load` (the engine does not take the graph), `inputs` (inputs
    that cannot be made up) or `run` (the first inference fails).
    """

    def __init__(self, kind: str, message: str, stage: str = "load") -> None:
        super().__init__(kind, message)
        self.stage = stage


class PhoneError(LatencyError):
    """The phone is unknown, gone, busy or unsteady.

    Kinds: `phone_unknown`, `phone_unstable` (no window passed the protocol; `record` has all the numbers,
    with `accepted` false), `timeout`, `runner_died`, `phone_busy` (leased by another process), `lease_lost`,
    `phone_host_gone` (the machine that it is attached to), `no_phone` (none of several works).
    """

    def __init__(self, kind: str, message: str, record: LatencyRecord | None = None) -> None:
        super().__init__(kind, message)
        self.record = record


class ToolError(LatencyError):
    """This program's own part failed.

    Kinds: `runner_start`, `runner_protocol`, `pause_failed`, `pause_expired`, `cache_unusable`,
    `lease_unusable`, `service_closed`, `internal` (an error that nobody foresaw; it is the cause).
    """
