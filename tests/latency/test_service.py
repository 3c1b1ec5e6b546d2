from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import pytest

from latency.cache import LatencyCache
from latency.errors import CandidateError, LatencyError, PhoneError, ToolError
from latency.host import HostPhone
from latency.protocol import MeasurementSettings
from latency.record import LatencyRecord, PhoneIdentity, model_sha256
from latency.service import LatencyService, RetryPolicy

FAST_RETRY = RetryPolicy(retries=3, first_delay_s=0.0)


class ScriptedPhone:
    """Answers each measurement with the next error of its script, then with records."""

    name = "scripted"

    def __init__(self, record: LatencyRecord, errors: tuple[LatencyError, ...] = ()) -> None:
        self.measured: list[bytes] = []
        self.hold = threading.Event()
        self.hold.set()
        self._record = record
        self._errors = list(errors)

    def identify(self) -> PhoneIdentity:
        return self._record.phone

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        self.measured.append(model)
        self.hold.wait(10)
        if self._errors:
            raise self._errors.pop(0)
        return replace(self._record, model_sha256=model_sha256(model), settings=settings)

    def close(self) -> None:
        pass


def test_models_are_measured_one_by_one_in_the_order_of_submission(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record)
    models = [bytes([number]) for number in range(20)]
    with LatencyService(phone) as service:
        futures = [service.submit(model) for model in models]
        hashes = [future.result(10).model_sha256 for future in futures]
    assert phone.measured == models
    assert hashes == [model_sha256(model) for model in models]


@pytest.mark.parametrize("error", [PhoneError("timeout", "slow"), ToolError("pause_failed", "no guard")])
def test_failures_of_phone_and_tool_are_tried_again(record: LatencyRecord, error: LatencyError) -> None:
    phone = ScriptedPhone(record, (error, error))
    with LatencyService(phone, retry=FAST_RETRY) as service:
        assert service.submit(b"model").result(10).accepted
    assert len(phone.measured) == 3


def test_an_error_surfaces_after_the_last_retry(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record, (PhoneError("runner_died", "dead"),) * 4)
    with LatencyService(phone, retry=FAST_RETRY) as service, pytest.raises(PhoneError, match="dead"):
        service.submit(b"model").result(10)
    assert len(phone.measured) == 4


def test_a_bad_candidate_is_not_tried_again_and_harms_no_other(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record, (CandidateError("model_rejected", "bad"),))
    with LatencyService(phone, retry=FAST_RETRY) as service:
        bad, good = service.submit(b"bad"), service.submit(b"good")
        with pytest.raises(CandidateError, match="bad"):
            bad.result(10)
        assert good.result(10).accepted
    assert phone.measured == [b"bad", b"good"]


def test_a_cached_model_is_not_measured_again(record: LatencyRecord, tmp_path: Path) -> None:
    phone = ScriptedPhone(record)
    cache = LatencyCache(tmp_path / "latency.sqlite")
    with LatencyService(phone, cache=cache) as service:
        first, second = service.submit(b"model"), service.submit(b"model")
        assert first.result(10) == second.result(10)
    with LatencyService(phone, cache=cache) as service:
        assert service.submit(b"model").result(10) == first.result()
    assert phone.measured == [b"model"]


def test_closing_cancels_what_waits_and_finishes_what_runs(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record)
    phone.hold.clear()
    service = LatencyService(phone)
    running, waiting = service.submit(b"running"), service.submit(b"waiting")
    while not phone.measured:
        pass
    closer = threading.Thread(target=service.close)
    closer.start()
    with pytest.raises(CancelledError):
        waiting.result(10)
    phone.hold.set()
    closer.join(10)
    assert running.result(0).accepted
    assert phone.measured == [b"running"]


def test_closing_ends_a_wait_between_retries(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record, (PhoneError("timeout", "slow"),) * 9)
    service = LatencyService(phone, retry=RetryPolicy(first_delay_s=3600, max_delay_s=3600))
    future = service.submit(b"model")
    while not phone.measured:
        pass
    service.close()
    with pytest.raises(PhoneError, match="slow"):
        future.result(0)


def test_nothing_is_accepted_after_closing(record: LatencyRecord) -> None:
    service = LatencyService(ScriptedPhone(record))
    service.close()
    with pytest.raises(ToolError) as caught:
        service.submit(b"model")
    assert caught.value.kind == "service_closed"


def test_the_delay_doubles_up_to_its_bound() -> None:
    policy = RetryPolicy(first_delay_s=1.0, max_delay_s=5.0)
    assert [policy.delay_s(failures) for failures in (1, 2, 3, 4, 2000)] == [1.0, 2.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize("make", [lambda: RetryPolicy(retries=-1), lambda: RetryPolicy(first_delay_s=-1.0)])
def test_negative_retries_and_delays_are_refused(make: Callable[[], RetryPolicy]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        make()


def test_it_measures_on_the_host(tiny_model: bytes, tolerant: MeasurementSettings) -> None:
    phone = HostPhone()
    try:
        with LatencyService(phone, tolerant) as service:
            records = [service.submit(tiny_model).result(60) for _ in range(2)]
    finally:
        phone.close()
    assert len({record.phone for record in records}) == 1
