from __future__ import annotations

from collections.abc import Callable

import pytest

from latency.errors import PhoneTimeoutError
from latency.pool.health import PhoneHealth, RetryPolicy

POLICY = RetryPolicy(first_delay_s=1.0, max_delay_s=5.0, quarantine_after=5, quarantine_s=20.0, max_quarantine_s=50.0)
ERROR = PhoneTimeoutError("slow")


def test_the_rest_doubles_up_to_its_bound_and_again_in_quarantine() -> None:
    rests_s = [POLICY.rest_s(failures) for failures in (1, 2, 3, 4, 5, 6, 7, 2000)]
    assert rests_s == [1.0, 2.0, 4.0, 5.0, 20.0, 40.0, 50.0, 50.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RetryPolicy(retries=-1), "must not be negative"),
        (lambda: RetryPolicy(first_delay_s=-1.0), "must not be negative"),
        (lambda: RetryPolicy(patience_s=-1.0), "must not be negative"),
        (lambda: RetryPolicy(quarantine_after=0), "at least 1"),
    ],
)
def test_impossible_policies_are_refused(make: Callable[[], RetryPolicy], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_quarantine_begins_with_the_failure_that_is_one_too_many() -> None:
    health = PhoneHealth(POLICY)
    for now_s in range(4):
        health.record_failure(ERROR, float(now_s))
    assert not health.quarantined
    health.record_failure(ERROR, 4.0)
    health.record_failure(ERROR, 30.0)
    assert (health.quarantined_since, health.rests_until) == (4.0, 70.0)


def test_one_success_ends_quarantine_and_starts_the_rests_anew() -> None:
    health = PhoneHealth(POLICY)
    for now_s in range(6):
        health.record_failure(ERROR, float(now_s))
    health.record_success()
    health.record_failure(ERROR, 10.0)
    assert (health.quarantined, health.rests_until, health.failures) == (False, 11.0, 7)
