"""What can go wrong in a measurement, and whose fault it is.

Only a `CandidateError` counts against the network that was measured. The other two are about the phone and about this
program: a caller tries again, on this phone or on another one, and never turns them into a latency. `mnas.errors` draws
the tree of all errors.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

from mnas.documents.errors import Error, InputError

if TYPE_CHECKING:
    from latency.measurement.record import LatencyRecord

_Same = TypeVar("_Same", bound="LatencyError")


class LatencyError(Error):
    """Base of the measurement errors.

    Attributes:
        kind: A stable word for programs.
        message: The text for people.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    def with_message(self: _Same, message: str) -> _Same:
        """Return the same error with another message."""
        renamed = copy.copy(self)
        renamed.args = (message,)
        renamed.message = message
        return renamed


class CandidateError(LatencyError, InputError):
    """The model itself fails on a healthy runner.

    Kind: `model_rejected`.

    Attributes:
        stage: Where it fails: `load` (the engine does not take the graph), `inputs` (inputs that cannot be made up),
            `run` (an inference fails, crashes the engine, never ends or gives another output each time) or `convert`
            (a user's conversion refuses it).
    """

    def __init__(self, kind: str, message: str, stage: str = "load") -> None:
        super().__init__(kind, message)
        self.stage = stage


class PhoneError(LatencyError):
    """The phone is unknown, gone, busy or unsteady.

    Kinds of any phone: those of the subclasses, `runner_died`, `wrong_output` (it computes something else than this
    host), `phone_busy` (another program or process has it), `lease_lost` (another process got it meanwhile).

    Kinds over adb: `phone_unauthorized` (this computer's key is not accepted), `phone_offline` (an adb server has
    lost it), `phone_no_permission` (this user may not open it), `phone_mode` (it is in recovery or its bootloader),
    `phone_full` and `phone_file` (a file cannot be read or written there), `push_failed`, `phone_hot`, `phone_saving`
    (its battery saver is on), `phone_slow` (its battery is low, when it is added), `phone_slow_when_added` (its
    profile holds the times of a slow phone), `phone_changed` (another device, build or engine answers),
    `phone_differs` (not of one model with the others), `phone_unsupported`, `core_unavailable`.

    Kinds of several phones: `phone_host_gone` (the machine that it is attached to), `no_phone` (none of them works).
    """


class PhoneUnknownError(PhoneError, InputError):
    """No phone has that name, or no phone can have it. Kind: `phone_unknown`."""

    def __init__(self, message: str) -> None:
        super().__init__("phone_unknown", message)


class ProfileError(PhoneError, InputError):
    """The profile of a phone cannot be used as written. Kind: `profile_invalid`."""

    def __init__(self, message: str) -> None:
        super().__init__("profile_invalid", message)


class PhoneGoneError(PhoneError):
    """Nothing answers at the phone's address, or the connection is lost.

    Kind: `phone_gone`.
    """

    def __init__(self, message: str) -> None:
        super().__init__("phone_gone", message)


class RunnerCrashedError(PhoneError):
    """The runner was ended by a fault of its own (a signal such as SIGSEGV). Kind: `runner_died`.

    A phone that sees it again with the same model, while its reference network runs, blames the model.
    """

    def __init__(self, message: str) -> None:
        super().__init__("runner_died", message)


class PhoneTimeoutError(PhoneError):
    """The phone has not done in time what it was asked. Kind: `timeout`."""

    def __init__(self, message: str) -> None:
        super().__init__("timeout", message)


class PhoneUnstableError(PhoneError):
    """No window passed the protocol. Kind: `phone_unstable`.

    Attributes:
        record: All numbers of the measurement, with `accepted` false; None if there was no measurement yet.
    """

    def __init__(self, message: str, record: LatencyRecord | None = None) -> None:
        super().__init__("phone_unstable", message)
        self.record = record


class ToolError(LatencyError):
    """This program's own part failed.

    Kinds: `runner_start`, `runner_protocol`, `pause_failed`, `pause_expired`, `cache_unusable`, `service_closed`,
    `lease_unusable`, `runtime_unavailable` (a file of the phones' runtime cannot be had), `loopback_unavailable` (the
    loopback phone cannot run here), `compiler_missing` and `build_failed` (of the on-phone runner), `convert` (a user's
    conversion), `adb_protocol` (what answers does not speak adb as we do), `adb_keys` (no usable key),
    `usb_unavailable` (no libusb), `internal` (an error that nobody foresaw; it is the cause).
    """
