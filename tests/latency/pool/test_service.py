"""Scheduling, retries and quarantine, on small phones that fail and succeed as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest

from latency.errors import (
    CandidateError,
    LatencyError,
    PhoneError,
    PhoneGoneError,
    PhoneTimeoutError,
    PhoneUnstableError,
    ToolError,
)
from latency.host.phone import HostPhone
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, PhoneIdentity, model_sha256
from latency.pool.cache import LatencyCache
from latency.pool.health import PhoneStatus, RetryPolicy
from latency.pool.service import LatencyService

FAST_RETRY = RetryPolicy(retries=3, first_delay_s=0.0, quarantine_s=0.0)
NEVER_AGAIN = RetryPolicy(retries=3, first_delay_s=0.0, quarantine_after=1, quarantine_s=3600.0, max_quarantine_s=3600)
TIMEOUT_S = 10.0


class ScriptedPhone:
    """Answers each measurement with the next error of its script, then with records."""

    name = "scripted"

    def __init__(
        self,
        record: LatencyRecord,
        errors: Iterator[LatencyError] | tuple[LatencyError, ...] = (),
        serial: str = "A",
        identify_errors: Iterator[LatencyError] | tuple[LatencyError, ...] = (),
    ) -> None:
        self.measured: list[bytes] = []
        self.identified = 0
        self.hold = threading.Event()
        self.hold.set()
        self._record = replace(record, phone=replace(record.phone, name=self.name, serial=serial))
        self._errors = iter(errors)
        self._identify_errors = iter(identify_errors)

    def identify(self) -> PhoneIdentity:
        self.identified += 1
        if (error := next(self._identify_errors, None)) is not None:
            raise error
        return self._record.phone

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        self.measured.append(model)
        self.hold.wait(TIMEOUT_S)
        if (error := next(self._errors, None)) is not None:
            raise error
        return replace(self._record, model_sha256=model_sha256(model), settings=settings)

    def close(self) -> None:
        pass


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.001)


def status_of(service: LatencyService, serial: str) -> PhoneStatus:
    return next(status for status in service.status() if f"serial {serial}," in status.label)


# One phone.


def test_models_are_measured_one_by_one_in_the_order_of_submission(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record)
    models = [bytes([number]) for number in range(20)]
    with LatencyService([phone]) as service:
        futures = [service.submit(model) for model in models]
        hashes = [future.result(TIMEOUT_S).model_sha256 for future in futures]
    assert phone.measured == models
    assert hashes == [model_sha256(model) for model in models]


@pytest.mark.parametrize("error", [PhoneTimeoutError("slow"), ToolError("pause_failed", "no guard")])
def test_failures_of_phone_and_tool_are_tried_again(record: LatencyRecord, error: LatencyError) -> None:
    phone = ScriptedPhone(record, (error, error))
    with LatencyService([phone], retry=FAST_RETRY) as service:
        assert service.submit(b"model").result(TIMEOUT_S).accepted
    assert len(phone.measured) == 3


def test_the_last_error_itself_surfaces_after_the_last_retry(
    record: LatencyRecord, rejected_record: LatencyRecord
) -> None:
    error = PhoneUnstableError("unsteady", rejected_record)
    phone = ScriptedPhone(record, (error,) * 4)
    with LatencyService([phone], retry=FAST_RETRY) as service, pytest.raises(PhoneError) as caught:
        service.submit(b"model").result(TIMEOUT_S)
    assert caught.value is error
    assert len(phone.measured) == 4


def test_a_bad_candidate_is_not_tried_again_and_harms_no_other(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record, (CandidateError("model_rejected", "bad"),))
    with LatencyService([phone], retry=FAST_RETRY) as service:
        bad, good = service.submit(b"bad"), service.submit(b"good")
        with pytest.raises(CandidateError, match="bad"):
            bad.result(TIMEOUT_S)
        assert good.result(TIMEOUT_S).accepted
    assert phone.measured == [b"bad", b"good"]


def test_a_fault_in_a_phones_code_is_a_tool_error_and_ends_no_thread(record: LatencyRecord) -> None:
    class FaultyPhone(ScriptedPhone):
        def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
            if model == b"first":
                raise ZeroDivisionError("a bug")
            return super().measure(model, settings)

    with LatencyService([FaultyPhone(record)], retry=FAST_RETRY) as service:
        with pytest.raises(ToolError, match="ZeroDivisionError: a bug") as caught:
            service.submit(b"first").result(TIMEOUT_S)
        assert caught.value.kind == "internal"
        assert service.submit(b"second").result(TIMEOUT_S).accepted


def test_a_phone_identifies_itself_once_and_again_after_a_failure(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record, (PhoneTimeoutError("slow"),))
    with LatencyService([phone], retry=FAST_RETRY) as service:
        for number in range(5):
            service.submit(bytes([number])).result(TIMEOUT_S)
    assert phone.identified == 2


def test_a_phone_that_does_not_identify_itself_gets_no_model(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record, identify_errors=(PhoneGoneError("unplugged"),) * 6)
    with LatencyService([phone], retry=FAST_RETRY) as service:
        assert service.submit(b"model").result(TIMEOUT_S).accepted
    assert (phone.identified, phone.measured) == (7, [b"model"])


def test_a_cancelled_model_is_not_measured(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record)
    phone.hold.clear()
    with LatencyService([phone]) as service:
        running, cancelled, last = (service.submit(model) for model in (b"running", b"cancelled", b"last"))
        until(lambda: phone.measured)
        assert cancelled.cancel()
        phone.hold.set()
        assert running.result(TIMEOUT_S).accepted
        assert last.result(TIMEOUT_S).accepted
    assert phone.measured == [b"running", b"last"]


# Closing.


def test_closing_cancels_what_waits_and_finishes_what_runs(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record)
    phone.hold.clear()
    service = LatencyService([phone])
    running, waiting = service.submit(b"running"), service.submit(b"waiting")
    until(lambda: phone.measured)
    closer = threading.Thread(target=service.close)
    closer.start()
    with pytest.raises(CancelledError):
        waiting.result(TIMEOUT_S)
    phone.hold.set()
    closer.join(TIMEOUT_S)
    assert running.result(0).accepted
    assert phone.measured == [b"running"]


def test_closing_ends_a_wait_between_retries(record: LatencyRecord) -> None:
    phone = ScriptedPhone(record, (PhoneTimeoutError("slow"),) * 9)
    service = LatencyService([phone], retry=RetryPolicy(first_delay_s=3600, max_delay_s=3600))
    future = service.submit(b"model")
    until(lambda: phone.measured)
    service.close()
    with pytest.raises(PhoneError, match="slow"):
        future.result(0)


def test_nothing_is_accepted_after_closing(record: LatencyRecord) -> None:
    service = LatencyService([ScriptedPhone(record)])
    service.close()
    with pytest.raises(ToolError) as caught:
        service.submit(b"model")
    assert caught.value.kind == "service_closed"


def test_a_service_needs_a_phone() -> None:
    with pytest.raises(ValueError, match="at least one phone"):
        LatencyService([])


# The cache.


def test_a_cached_model_is_not_measured_again(record: LatencyRecord, tmp_path: Path) -> None:
    phone = ScriptedPhone(record)
    cache = LatencyCache(tmp_path / "latency.sqlite")
    with LatencyService([phone], cache=cache) as service:
        first, second = service.submit(b"model"), service.submit(b"model")
        assert first.result(TIMEOUT_S) == second.result(TIMEOUT_S)
    with LatencyService([phone], cache=cache) as service:
        assert service.submit(b"model").result(TIMEOUT_S) == first.result()
    assert phone.measured == [b"model"]


def test_what_an_equal_phone_has_measured_counts(record: LatencyRecord, tmp_path: Path) -> None:
    a, b = ScriptedPhone(record, serial="A"), ScriptedPhone(record, serial="B")
    cache = LatencyCache(tmp_path / "latency.sqlite")
    with LatencyService([a], cache=cache) as service:
        first = service.submit(b"model").result(TIMEOUT_S)
    with LatencyService([b, a], cache=cache) as service:
        until(lambda: [status.state for status in service.status()] == ["idle", "idle"])
        assert service.submit(b"model").result(TIMEOUT_S) == first
    assert a.measured + b.measured == [b"model"]


def test_a_hit_does_not_wait_for_a_busy_phone(record: LatencyRecord, tmp_path: Path) -> None:
    phone = ScriptedPhone(record)
    with LatencyService([phone], cache=LatencyCache(tmp_path / "latency.sqlite")) as service:
        first = service.submit(b"model").result(TIMEOUT_S)
        phone.hold.clear()
        running = service.submit(b"running")
        assert service.submit(b"model").result(0) == first
        phone.hold.set()
        running.result(TIMEOUT_S)


def test_a_damaged_cache_costs_measurements_and_nothing_else(record: LatencyRecord, tmp_path: Path) -> None:
    path = tmp_path / "latency.sqlite"
    path.write_bytes(b"this is not SQLite" * 100)
    phone = ScriptedPhone(record)
    with LatencyService([phone], cache=LatencyCache(path)) as service:
        assert all(service.submit(b"model").result(TIMEOUT_S).accepted for _ in range(2))
    assert len(phone.measured) == 2


# Several phones.


def test_equal_phones_share_the_models(record: LatencyRecord) -> None:
    phones = [ScriptedPhone(record, serial=serial) for serial in "ABC"]
    for phone in phones:
        phone.hold.clear()
    with LatencyService(phones) as service:
        futures = [service.submit(bytes([number])) for number in range(3)]
        until(lambda: all(phone.measured for phone in phones))
        for phone in phones:
            phone.hold.set()
        assert len({future.result(TIMEOUT_S).phone.serial for future in futures}) == 3


def test_a_slow_phone_does_not_hold_up_the_others(record: LatencyRecord) -> None:
    slow, fast = ScriptedPhone(record, serial="slow"), ScriptedPhone(record, serial="fast")
    slow.hold.clear()
    with LatencyService([slow, fast]) as service:
        futures = [service.submit(bytes([number])) for number in range(20)]
        until(lambda: sum(future.done() for future in futures) >= 19)
        slow.hold.set()
        assert all(future.result(TIMEOUT_S).accepted for future in futures)


def test_a_failed_model_goes_to_another_phone_before_all_that_waits(record: LatencyRecord) -> None:
    broken = ScriptedPhone(record, repeat(PhoneError("runner_died", "dead")), serial="broken")
    healthy = ScriptedPhone(record, serial="healthy")
    broken.hold.clear()
    healthy.hold.clear()
    with LatencyService([broken, healthy], retry=NEVER_AGAIN) as service:
        futures = [service.submit(bytes([number])) for number in range(6)]
        until(lambda: broken.measured and healthy.measured)
        broken.hold.set()
        until(lambda: status_of(service, "broken").state == "quarantined")
        healthy.hold.set()
        assert {future.result(TIMEOUT_S).phone.serial for future in futures} == {"healthy"}
    first, second = healthy.measured[:2]
    assert second == broken.measured[0] != first


def test_a_phone_that_always_fails_gets_a_few_models_and_all_are_measured(record: LatencyRecord) -> None:
    policy = RetryPolicy(first_delay_s=0.0, quarantine_after=3, quarantine_s=3600.0, max_quarantine_s=3600.0)
    broken = ScriptedPhone(record, repeat(PhoneTimeoutError("slow")), serial="broken")
    healthy = ScriptedPhone(record, serial="healthy")
    with LatencyService([broken, healthy], retry=policy) as service:
        futures = [service.submit(number.to_bytes(2, "big")) for number in range(500)]
        assert all(future.result(TIMEOUT_S).accepted for future in futures)
    assert len(broken.measured) <= 3
    assert len(healthy.measured) == 500


def test_a_phone_comes_back_from_quarantine_once_it_works_and_both_are_said(
    record: LatencyRecord, caplog: pytest.LogCaptureFixture
) -> None:
    policy = RetryPolicy(retries=9, first_delay_s=0.0, quarantine_after=2, quarantine_s=0.01)
    errors = (PhoneTimeoutError("slow"),) * 4
    phone = ScriptedPhone(record, errors, serial="A")
    with LatencyService([phone], retry=policy) as service:
        assert service.submit(b"model").result(TIMEOUT_S).accepted
        until(lambda: status_of(service, "A").state == "idle")
        status = status_of(service, "A")
    assert (status.measured, status.failures, status.last_error) == (1, 4, "slow")
    assert phone.identified == 5
    assert caplog.messages == [
        "phone scripted (serial A, core 1) is in quarantine after 2 failures in a row: slow",
        "phone scripted (serial A, core 1) works again",
    ]


def test_every_phone_may_try_a_model_whatever_the_number_of_retries(record: LatencyRecord) -> None:
    broken = [ScriptedPhone(record, repeat(PhoneTimeoutError("slow")), serial=serial) for serial in "ABC"]
    healthy = ScriptedPhone(record, serial="D")
    healthy.hold.clear()
    with LatencyService([*broken, healthy], retry=replace(NEVER_AGAIN, retries=0)) as service:
        occupied, future = service.submit(b"0"), service.submit(b"1")
        until(lambda: healthy.measured)
        healthy.hold.set()
        assert occupied.result(TIMEOUT_S).accepted
        assert future.result(TIMEOUT_S).accepted


def test_the_error_of_a_model_that_failed_everywhere_says_which_phone_failed_how(
    record: LatencyRecord, rejected_record: LatencyRecord
) -> None:
    a = ScriptedPhone(record, repeat(PhoneUnstableError("it is hot", rejected_record)), serial="A")
    b = ScriptedPhone(record, repeat(ToolError("runner_start", "no runner")), serial="B")
    with LatencyService([a, b], retry=FAST_RETRY) as service, pytest.raises(PhoneUnstableError) as caught:
        service.submit(b"model").result(TIMEOUT_S)
    assert (caught.value.kind, caught.value.record) == ("phone_unstable", rejected_record)
    assert "4 attempts failed" in str(caught.value)
    assert "scripted (serial A, core 1): phone_unstable, phone_unstable: it is hot" in str(caught.value)
    assert "scripted (serial B, core 1): runner_start, runner_start: no runner" in str(caught.value)


def test_when_every_phone_is_in_quarantine_models_fail_after_a_while_with_what_happened(record: LatencyRecord) -> None:
    a = ScriptedPhone(record, repeat(PhoneError("runner_died", "it died")), serial="A")
    b = ScriptedPhone(record, identify_errors=repeat(PhoneGoneError("unplugged")), serial="B")
    with LatencyService([a, b], retry=replace(NEVER_AGAIN, patience_s=0.3)) as service:
        futures = [service.submit(bytes([number])) for number in range(3)]
        errors = [future.exception(TIMEOUT_S) for future in futures]
    assert [error.kind for error in errors if isinstance(error, PhoneError)] == ["no_phone"] * 3
    assert "scripted (serial A, core 1): it died" in str(errors[0])
    assert "scripted (number 2): unplugged" in str(errors[0])


def test_models_that_wait_for_a_phone_that_is_gone_fail_together(record: LatencyRecord) -> None:
    # The second look fails after the patience has ended, and a model that comes later waits for one look only.
    policy = replace(NEVER_AGAIN, quarantine_s=0.4, max_quarantine_s=0.4, patience_s=0.3)
    with LatencyService(
        [ScriptedPhone(record, identify_errors=repeat(PhoneGoneError("unplugged")))], retry=policy
    ) as service:
        until(lambda: service.status()[0].state == "quarantined")
        waiting = [service.submit(bytes([number])) for number in range(20)]
        start_s = time.monotonic()
        assert {str(future.exception(TIMEOUT_S)) for future in waiting} == {str(waiting[0].exception())}
        together_s = time.monotonic() - start_s
        later = [service.submit(bytes([number])) for number in range(20)]
        assert all(isinstance(future.exception(TIMEOUT_S), PhoneError) for future in later)
    assert together_s < 20 * policy.patience_s


def test_a_model_submitted_while_no_phone_works_waits_for_the_next_look_at_it(record: LatencyRecord) -> None:
    errors = (PhoneError("runner_died", "it died"),)
    policy = replace(NEVER_AGAIN, quarantine_s=1.0, patience_s=0.6)
    with LatencyService([ScriptedPhone(record, errors)], retry=policy) as service:
        first = service.submit(b"first")
        until(lambda: service.status()[0].state == "quarantined")
        time.sleep(0.5)
        second = service.submit(b"second")
        assert isinstance(first.exception(TIMEOUT_S), PhoneError)
        assert second.result(TIMEOUT_S).accepted


def test_status_tells_where_each_phone_stands(record: LatencyRecord) -> None:
    busy, broken = (
        ScriptedPhone(record, serial="A"),
        ScriptedPhone(record, repeat(PhoneTimeoutError("slow")), serial="B"),
    )
    busy.hold.clear()
    with LatencyService([busy, broken], retry=NEVER_AGAIN) as service:
        until(lambda: [status.state for status in service.status()] == ["idle", "idle"])
        futures = [service.submit(bytes([number])) for number in range(2)]
        until(lambda: [status.state for status in service.status()] == ["busy", "quarantined"])
        assert status_of(service, "B") == PhoneStatus("scripted (serial B, core 1)", "quarantined", 0, 1, "slow")
        busy.hold.set()
        for future in futures:
            future.result(TIMEOUT_S)


def test_it_measures_on_the_host(tiny_model: bytes, tolerant: MeasurementSettings) -> None:
    phone = HostPhone()
    try:
        with LatencyService([phone], tolerant) as service:
            records = [service.submit(tiny_model).result(60) for _ in range(2)]
    finally:
        phone.close()
    assert len({record.phone for record in records}) == 1
