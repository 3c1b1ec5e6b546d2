"""The interface of everything that can time a model."""

from __future__ import annotations

from typing import Protocol

from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, PhoneIdentity


class PhoneBackend(Protocol):
    """Something that times ONNX models, one at a time.

    A phone keeps itself usable: after a bad model or any failure, the next `measure` starts from a working runner or
    says why there is none. It tries windows again inside one measurement, as the settings say. Trying a whole
    measurement again is the caller's part (`LatencyService`).

    A phone also leases itself: other processes that use it wait for their turn.
    """

    @property
    def name(self) -> str:
        """What the user calls it; known without touching the phone."""
        ...

    def identify(self) -> PhoneIdentity:
        """Return who the phone is and what runs there, as the phone itself says.

        The base of the cache key.

        Raises:
            PhoneError: It cannot be reached.
            ToolError: The runner cannot be started.
        """
        ...

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """Time the serialized ONNX `model`; return an accepted record.

        Raises:
            CandidateError: The model is at fault.
            PhoneError: The phone is at fault.
            ToolError: This program is at fault.
        """
        ...

    def close(self) -> None:
        """Release the phone and everything that was started for it.

        Closing twice is allowed.
        """
        ...
