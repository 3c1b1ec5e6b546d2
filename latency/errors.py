"""What can go wrong in a measurement, and whose fault it is.

Only a `CandidateError` counts against the network that was measured. The other two are about the phone and
about this program: a caller retries them, here or on another phone, and never turns them into a latency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnas.documents.errors import Error, InputError

if TYPE_CHECKING:
    from latency.measurement.record import LatencyRecord


class LatencyError(Error):
    """Base of the measurement errors; `kind` is a stable word for programs, the message is for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)  # Both in args, so that the error survives a copy between processes.
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


class CandidateError(LatencyError, InputError):
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
    with `accepted` false), `timeout`, `runner_died`, `wrong_output` (it computes something else than this host);
    over adb also `phone_gone` (nothing answers there, or the connection is lost), `phone_unauthorized` (this
    computer's key is not accepted), `phone_offline` (an adb server has lost it), `phone_busy` (another program or
    process has it), `phone_no_permission` (this user may not open it), `phone_full` and `phone_file` (a file cannot
    be read or written there), `push_failed`, `phone_hot`, `phone_changed` (another device answers), `phone_differs`
    (not of one model with the others), `phone_unsupported`, `core_unavailable`, `profile_invalid`; of several phones
    `lease_lost`, `phone_host_gone` (the machine that it is attached to), `no_phone` (none of them works).
    """

    def __init__(self, kind: str, message: str, record: LatencyRecord | None = None) -> None:
        super().__init__(kind, message)
        self.record = record


class ToolError(LatencyError):
    """This program's own part failed.

    Kinds: `runner_start`, `runner_protocol`, `pause_failed`, `pause_expired`, `cache_unusable`,
    `service_closed`, `lease_unusable`, `runtime_unavailable` (a file of the phones' runtime cannot be had),
    `compiler_missing` and `build_failed` (of the on-phone runner), `convert` (a user's conversion), `adb_protocol`
    (what answers does not speak adb as we do), `adb_keys` (no usable key), `usb_unavailable` (no libusb), `internal`
    (an error that nobody foresaw; it is the cause).
    """
