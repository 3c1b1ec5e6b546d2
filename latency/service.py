"""Measurements as futures: one phone, one measurement at a time, first come first served."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from latency.cache import LatencyCache
from latency.errors import CandidateError, LatencyError, ToolError
from latency.phone import Phone
from latency.protocol import MeasurementSettings
from latency.record import LatencyRecord, model_sha256


@dataclass(frozen=True)
class RetryPolicy:
    """How often a failure of the phone or the tool is tried again, and how long to wait before."""

    retries: int = 4
    first_delay_s: float = 0.5
    """Doubles with each retry."""
    max_delay_s: float = 10.0

    def __post_init__(self) -> None:
        if self.retries < 0 or self.first_delay_s < 0 or self.max_delay_s < 0:
            raise ValueError(f"{self}: retries and delays must not be negative")

    def delay_s(self, failures: int) -> float:
        """Wait after the given number of failures (at least 1)."""
        return min(self.first_delay_s * 2.0 ** min(failures - 1, 100), self.max_delay_s)


class LatencyService:
    """Measures submitted models on `phone`, which stays the caller's to close.

    With a `cache`, a model that was measured before under the same settings costs a look-up.
    """

    def __init__(
        self,
        phone: Phone,
        settings: MeasurementSettings | None = None,
        cache: LatencyCache | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._phone = phone
        self._settings = settings or MeasurementSettings()
        self._cache = cache
        self._retry = retry or RetryPolicy()
        self._closing = threading.Event()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"latency-{phone.name}")

    def __enter__(self) -> LatencyService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, model: bytes) -> Future[LatencyRecord]:
        """Queue the serialized ONNX model.

        The future raises CandidateError at once, PhoneError and ToolError after the retries. It is cancelled
        when the service closes before its turn. Raises ToolError (`service_closed`) after `close`.
        """
        if self._closing.is_set():
            raise ToolError("service_closed", f"latency service of phone {self._phone.name!r} is closed")
        return self._executor.submit(self._measure, model)

    def close(self) -> None:
        """Cancel what is queued, let the measurement at work end without further retries, and return."""
        self._closing.set()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _measure(self, model: bytes) -> LatencyRecord:
        failures = 0
        while True:
            try:
                return self._measure_once(model)
            except CandidateError:
                raise
            except LatencyError:
                failures += 1
                if failures > self._retry.retries or self._closing.wait(self._retry.delay_s(failures)):
                    raise

    def _measure_once(self, model: bytes) -> LatencyRecord:
        if self._cache is None:
            return self._phone.measure(model, self._settings)
        known = self._cache.get(model_sha256(model), self._phone.identify(), self._settings)
        if known is not None:
            return known
        record = self._phone.measure(model, self._settings)
        self._cache.put(record)
        return record
