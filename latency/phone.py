"""The interface of everything that can time a model."""

from __future__ import annotations

from typing import Protocol

from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, PhoneIdentity


class Phone(Protocol):
    """A device that times ONNX models, one at a time.

    A phone keeps itself usable: whatever one model or one failure does to its runner, the next `measure`
    starts from a working one or says why there is none. It retries windows inside one measurement, as the
    settings say; retrying whole measurements is the caller's business (`LatencyService`).
    """

    @property
    def name(self) -> str:
        """What the user calls it; known without touching the device."""
        ...

    def identify(self) -> PhoneIdentity:
        """Who the phone is and what runs there, asked of the device itself; the base of the cache key.

        Raises PhoneError when it cannot be reached, ToolError when the runner cannot be started.
        """
        ...

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """Time the serialized ONNX `model`; the record returned is always an accepted one.

        Raises CandidateError when the model is at fault, PhoneError when the phone is, ToolError when this
        program is.
        """
        ...

    def close(self) -> None:
        """Release the device and whatever was started for it; closing twice is allowed."""
        ...
