"""A phone that times ONNX models: the object behind `mnas phones measure`."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from latency import (
    CandidateError,
    LatencyError,
    LatencyRecord,
    MeasurementSettings,
    PhoneBackend,
    create_phones,
    phone_settings,
    user_leases,
)
from latency.measurement.input_shapes import Shapes, open_inputs, with_shapes
from latency.phones import phone_shapes
from latency.pool.model_check import check_model
from latency.waiting import SILENCE_S
from mnas.documents.names import did_you_mean
from mnas.errors import ConfigurationError

if TYPE_CHECKING:
    from onnx import ModelProto

_MAX_BYTES = 2**31 - 1  # of protobuf
# A machine can be unsteady for half a minute; that is worth waiting for.
TRIES = 9
FIRST_REST_S, MAX_REST_S = 0.5, 10.0
# Failures that another try may not see. All others have been waited for already, or stay: a phone that is gone, hot, in
# use or silent is not asked again.
_WORTH_ANOTHER_TRY = frozenset({"phone_unstable", "lease_lost", "push_failed", "runner_died", "runner_protocol"})
# A connection that was lost at once is made again once: the daemon may have restarted since the last measurement.
_LOST = "phone_gone"

_LOG = logging.getLogger("latency.phone")


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
        *,
        shapes: Shapes | None = None,
    ) -> LatencyRecord:
        """Time a model: one thread on one core, batch 1 unless the model fixes another, after a warm-up.

        A disturbed measurement is detected and repeated, so the record is always an accepted one. What was waited for
        once (a phone that is gone, hot or in use) is not waited for again.

        Args:
            onnx: The path of an ONNX file, its bytes, or a model of the `onnx` package.
            settings: Fields of the measurement protocol to change, such as `{"runs": 100}`; see
                `latency.MeasurementSettings`.
            shapes: The shapes of inputs with open dimensions, by name, such as `{"input": [1, 3, 224, 224]}`; for other
                inputs those under `shapes` in the phone's profile. A leading batch need not be given; it is 1. The
                record's `model_sha256` is that of the model with these shapes.

        Raises:
            ConfigurationError: The file cannot be read, a setting is unknown or not allowed, or a shape does not fit.
            CandidateError: The phone cannot run the model.
            PhoneError: The phone cannot be reached, or stayed disturbed.
            ToolError: The measuring program failed.
        """
        changed = self._settings(settings or {})
        model = self._with_shapes(_model_bytes(onnx), shapes or {})
        check_model(model)
        with self._lock:
            return self._measure(model, changed)

    def _with_shapes(self, model: bytes, shapes: Shapes) -> bytes:
        """Write the given shapes into the model, and those of the phone's profile for inputs that are open still."""
        try:
            model = with_shapes(model, shapes)
            if usual := phone_shapes(self.name):
                still_open = open_inputs(model)
                model = with_shapes(model, {name: shape for name, shape in usual.items() if name in still_open})
        except ValueError as error:
            raise ConfigurationError(f"shapes: {error}") from error
        return model

    def _measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """Try the units in turn until one gives a record, or no further try makes sense."""
        usable = list(self._phones)
        failure: LatencyError | None = None
        for attempt in range(TRIES):
            phone = usable[attempt % len(usable)]
            started = time.monotonic()
            try:
                return phone.measure(model, settings)
            except CandidateError:
                raise
            except LatencyError as error:
                failure = error
            if not _worth_another_try(failure, attempt, time.monotonic() - started):
                usable = [each for each in usable if each is not phone]
                if not usable:
                    raise failure
            elif attempt + 1 < TRIES:
                _rest(phone, failure, attempt)
        assert failure is not None  # There was at least one try.
        raise failure

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


def _worth_another_try(error: LatencyError, attempt: int, took_s: float) -> bool:
    if error.kind == _LOST:
        return attempt == 0 and took_s < SILENCE_S
    return error.kind in _WORTH_ANOTHER_TRY


def _rest(phone: PhoneBackend, error: LatencyError, attempt: int) -> None:
    rest_s = min(FIRST_REST_S * 2**attempt, MAX_REST_S)
    if rest_s >= SILENCE_S:
        _LOG.info("phone %s: %s. Trying again in %g s, %d of %d", phone.name, error, rest_s, attempt + 2, TRIES)
    time.sleep(rest_s)


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
