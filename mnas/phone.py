"""A phone that times ONNX models: the object behind `mnas phones measure`."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from latency import (
    LatencyRecord,
    LatencyService,
    MeasurementSettings,
    RetryPolicy,
    create_phones,
    phone_settings,
    user_leases,
)
from mnas.documents.names import did_you_mean
from mnas.errors import ConfigurationError

if TYPE_CHECKING:
    from onnx import ModelProto

_MAX_BYTES = 2**31 - 1  # of protobuf
# A machine can be unsteady for half a minute; that is worth waiting for.
_PATIENT = RetryPolicy(retries=8, quarantine_after=9)


class Phone:
    """A phone by its name; a context manager, closed at the end of its block or by `close`.

    `host` is one core of this machine, `host:1` its core 1; every other name is one that was given to `mnas phones
    add`. Several units of one phone model are used as one phone. Searches and other processes that use the same phone
    take turns with it. Nothing is connected before the first measurement.

    >>> with Phone("host") as phone:
    ...     record = phone.measure("model.onnx")  # doctest: +SKIP
    """

    def __init__(self, name: str = "host") -> None:
        """Find the phone.

        Raises:
            PhoneError: No phone has this name (`phone_unknown`), or its profile cannot be used (`profile_invalid`).
            ToolError: The folder that processes take turns by cannot be made (`lease_unusable`).
        """
        self.name = name
        # Two measurements at a time, from two threads, would disturb each other.
        self._lock = threading.Lock()
        with ExitStack() as stack:
            leases = user_leases()
            stack.callback(leases.close)
            self._phones = create_phones(name, leases=leases)
            for phone in self._phones:
                stack.callback(phone.close)
            self._resources = stack.pop_all()

    def __enter__(self) -> Phone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Phone({self.name!r})"

    def close(self) -> None:
        """Release the phone; closing twice is allowed."""
        self._resources.close()

    def measure(
        self,
        onnx: bytes | str | os.PathLike[str] | ModelProto,
        settings: Mapping[str, int | float] | None = None,
    ) -> LatencyRecord:
        """Time a model: one thread on one core, batch 1, after a warm-up.

        A disturbed measurement is detected and repeated, so the record is always an accepted one.

        Args:
            onnx: The path of an ONNX file, its bytes, or a model of the `onnx` package.
            settings: Fields of the measurement protocol to change, such as `{"runs": 100}`; see
                `latency.MeasurementSettings`.

        Raises:
            ConfigurationError: The file cannot be read, or a setting is unknown or not allowed.
            CandidateError: The phone cannot run the model.
            PhoneError: The phone cannot be reached, or stayed disturbed.
            ToolError: The measuring program failed.
        """
        model, changed = _model_bytes(onnx), self._settings(settings or {})
        with self._lock, LatencyService(self._phones, changed, retry=_PATIENT) as service:
            return service.submit(model).result()

    def _settings(self, changes: Mapping[str, int | float]) -> MeasurementSettings:
        known = [field.name for field in fields(MeasurementSettings)]
        for key in changes:
            if key not in known:
                raise ConfigurationError(
                    f"settings of phone {self.name!r}: unknown field {key!r}{did_you_mean(key, known)}; there are "
                    f"{', '.join(known)}"
                )
        try:
            return phone_settings(self.name, changes)
        except ValueError as error:
            raise ConfigurationError(f"settings of phone {self.name!r}: {error}") from error


def _model_bytes(onnx: bytes | str | os.PathLike[str] | ModelProto) -> bytes:
    if isinstance(onnx, bytes):
        return onnx
    if isinstance(onnx, str | os.PathLike):
        try:
            with Path(onnx).open("rb") as file:
                content = file.read(_MAX_BYTES + 1)  # a device or a pipe may have no end
        except OSError as error:
            raise ConfigurationError(f"{onnx}: cannot be read ({error.strerror}); give an ONNX file") from error
        if len(content) > _MAX_BYTES:
            raise ConfigurationError(f"{onnx}: larger than 2 GiB, which no ONNX file can be; give an ONNX file")
        return content
    return bytes(onnx.SerializeToString())
