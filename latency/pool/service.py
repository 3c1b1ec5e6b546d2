"""Measurements as futures.

One queue is served by phones that are equal, each driven by a thread of its own.

A phone takes the next model when it is free, so work spreads by itself and a slow or broken phone takes less of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType

from latency.errors import CandidateError, LatencyError, PhoneError, ToolError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, model_sha256
from latency.phone import PhoneBackend
from latency.pool.assignment import Job, PhoneWorker, next_job
from latency.pool.cache import LatencyCache, TolerantCache
from latency.pool.health import PhoneStatus, RetryPolicy
from latency.pool.model_check import check_model

_LOG = logging.getLogger(__name__)


class LatencyService:
    """Measures submitted models on phones that are equal: any of them will do.

    After a failure of phone or tool the model goes back to the head of the queue, for another phone if there is one,
    and the phone rests (see `RetryPolicy`). It must identify itself before it goes on.

    Args:
        phones: The phones. They stay the caller's to close.
        settings: The measurement protocol; its defaults if None.
        cache: Kept latencies: a model that one of the phones has measured before under the same settings costs a
            look-up.
        retry: How often to try again, and how long a phone rests.

    Raises:
        ValueError: There is no phone.
    """

    def __init__(
        self,
        phones: Sequence[PhoneBackend],
        settings: MeasurementSettings | None = None,
        cache: LatencyCache | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        if not phones:
            raise ValueError("a latency service needs at least one phone")
        self._settings = settings or MeasurementSettings()
        self._retry = retry or RetryPolicy()
        self._cache = TolerantCache(cache)
        self._workers = [PhoneWorker(phone, number, self._retry) for number, phone in enumerate(phones, start=1)]
        # All below, and the workers and jobs, are read and changed only with the lock of this condition held.
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), name=f"latency-{worker.phone.name}", daemon=True)
            for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> LatencyService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, model: bytes) -> Future[LatencyRecord]:
        """Queue the serialized ONNX model.

        Returns:
            The future record. It raises CandidateError at once, PhoneError and ToolError when the retries are used up,
            and PhoneError (`no_phone`), together with all that wait, when every phone has been in quarantine for longer
            than the policy's patience. A model that is submitted later waits for one more look at the phones only.
            It is cancelled if the service closes before its turn.

        Raises:
            ToolError: `service_closed`: the service was closed before.
        """
        job = Job(model)
        known = self._look_up(model)
        if known is None:  # a model that was measured before has passed
            try:
                check_model(model)
            except CandidateError as error:
                job.future.set_exception(error)
                return job.future
        with self._changed:
            if self._closing:
                raise ToolError("service_closed", f"latency service of {self._workers[0].phone.name!r} is closed")
            if known is None:
                self._queue.append(job)
                self._changed.notify_all()
        if known is not None:
            job.future.set_result(known)
        return job.future

    def status(self) -> list[PhoneStatus]:
        """Return the state of each phone."""
        with self._changed:
            now_s = time.monotonic()
            return [
                PhoneStatus(
                    label=worker.label,
                    state=worker.state(now_s),
                    measured=worker.health.measured,
                    failures=worker.health.failures,
                    last_error=None if worker.health.last_error is None else str(worker.health.last_error),
                )
                for worker in self._workers
            ]

    def close(self) -> None:
        """Cancel what is queued, let running measurements end, and return.

        They are not tried again.
        """
        with self._changed:
            self._closing = True
            dropped = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for job in dropped:
            job.give_up()
        for thread in self._threads:
            thread.join()

    def _serve(self, worker: PhoneWorker) -> None:
        """Drive one phone, as its thread.

        Wait for work, see that the phone answers, measure.
        """
        self._identify(worker)  # Already now: the cache is looked up by who the phones are.
        while self._wait_for_work(worker):
            if not worker.identified:
                self._identify(worker)
            elif (job := self._take(worker)) is not None:
                if job.start():
                    self._measure(worker, job)
                self._set_idle(worker)

    def _wait_for_work(self, worker: PhoneWorker) -> bool:
        """Wait until there is a job for this phone; return False when the service closes."""
        while True:
            with self._changed:
                if self._closing:
                    return False
                now_s = time.monotonic()
                hopeless, wait_s = self._hopeless(now_s)
                if not hopeless:
                    rest_s = worker.health.rests_until - now_s
                    if rest_s <= 0 and next_job(self._queue, worker, self._workers, now_s) is not None:
                        return True
                    if rest_s > 0 and self._queue:
                        wait_s = rest_s if wait_s is None else min(wait_s, rest_s)
                    self._changed.wait(wait_s)
            for job, error in hopeless:
                if job.start():
                    job.future.set_exception(error)

    def _take(self, worker: PhoneWorker) -> Job | None:
        """Take the next job for this phone, which is busy from now on."""
        with self._changed:
            job = next_job(self._queue, worker, self._workers, time.monotonic())
            if job is not None:
                self._queue.remove(job)
                worker.busy = True
            return job

    def _hopeless(self, now_s: float) -> tuple[list[tuple[Job, PhoneError]], float | None]:
        """Remove the jobs that no phone will measure.

        Once every phone has been in quarantine for longer than `patience_s`, these are the jobs that have seen a phone
        fail. The others wait until the next phone has rested and is asked again.

        Returns:
            These jobs with their errors, and the seconds until the patience ends, if it has not.
        """
        since_s = [worker.health.quarantined_since for worker in self._workers]
        if not self._queue or None in since_s:
            return [], None
        left_s = max(each for each in since_s if each is not None) + self._retry.patience_s - now_s
        if left_s > 0:
            return [], left_s
        last_failure_s = max(worker.health.last_failure_s for worker in self._workers)
        hopeless = [job for job in self._queue if job.submitted_at_s <= last_failure_s]
        for job in hopeless:
            self._queue.remove(job)
        return [(job, self._no_phone()) for job in hopeless], None

    def _no_phone(self) -> PhoneError:
        said = "; ".join(f"{worker.label}: {worker.health.last_error}" for worker in self._workers)
        return PhoneError(
            "no_phone",
            f"no phone has worked for {self._retry.patience_s:g} s ({said}). Look after the phones: `mnas phones list` "
            "says what is attached",
        )

    def _identify(self, worker: PhoneWorker) -> None:
        """Ask the phone who it is: for the cache, and to see that it answers."""
        with self._changed:
            worker.busy = True
        try:
            identity = worker.phone.identify()
        except Exception as error:  # A bug in a phone must not end its thread and leave the futures waiting.
            self._set_failed(worker, _as_latency_error(error))
        else:
            with self._changed:
                worker.identity = identity
                worker.identified = True
        self._set_idle(worker)

    def _measure(self, worker: PhoneWorker, job: Job) -> None:
        record = self._look_up(job.model)
        if record is not None:
            job.future.set_result(record)
            return
        try:
            record = worker.phone.measure(job.model, self._settings)
        except CandidateError as error:
            self._set_worked(worker)
            job.future.set_exception(error)
        except Exception as error:  # As in _identify.
            failure = _as_latency_error(error)
            self._set_failed(worker, failure)
            self._try_again(job, worker, failure)
        else:
            self._set_worked(worker, measured=1)
            self._cache.put(record)
            job.future.set_result(record)

    def _try_again(self, job: Job, worker: PhoneWorker, failure: LatencyError) -> None:
        with self._changed:
            job.failures.append((worker, failure))
            again = not self._closing and len(job.failures) < max(self._retry.retries + 1, len(self._workers))
            if again:
                _LOG.info("phone %s: %s. Trying again", worker.label, failure)
                self._queue.appendleft(job)
                self._changed.notify_all()
        if not again:
            job.give_up()

    def _look_up(self, model: bytes) -> LatencyRecord | None:
        with self._changed:
            identities = [worker.identity for worker in self._workers if worker.identity is not None]
        return self._cache.get(model_sha256(model), identities, self._settings)

    def _set_worked(self, worker: PhoneWorker, measured: int = 0) -> None:
        with self._changed:
            was_quarantined = worker.health.quarantined
            worker.health.record_success()
            worker.health.measured += measured
        if was_quarantined:
            _LOG.warning("phone %s works again", worker.label)

    def _set_failed(self, worker: PhoneWorker, error: LatencyError) -> None:
        with self._changed:
            was_quarantined = worker.health.quarantined
            worker.identified = False
            worker.health.record_failure(error, time.monotonic())
        if worker.health.quarantined and not was_quarantined:
            failures = worker.health.failures_in_row
            _LOG.warning("phone %s is in quarantine after %d failures in a row: %s", worker.label, failures, error)

    def _set_idle(self, worker: PhoneWorker) -> None:
        with self._changed:
            worker.busy = False
            self._changed.notify_all()


def _as_latency_error(error: Exception) -> LatencyError:
    if isinstance(error, LatencyError):
        return error
    unexpected = ToolError("internal", f"unexpected {type(error).__name__}: {error}")
    unexpected.__cause__ = error
    return unexpected
