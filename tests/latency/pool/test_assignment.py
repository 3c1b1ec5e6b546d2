from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latency.errors import PhoneTimeoutError
from latency.host.phone import HostPhone
from latency.pool.assignment import Job, PhoneWorker, next_job
from latency.pool.health import RetryPolicy

POLICY = RetryPolicy(quarantine_after=4)
ERROR = PhoneTimeoutError("slow")
LATER_S = 1e6
"""When all rests are over."""


def workers_with(failures_in_row: list[int]) -> list[PhoneWorker]:
    workers = [PhoneWorker(HostPhone(), number, POLICY) for number in range(len(failures_in_row))]
    for worker, failures in zip(workers, failures_in_row, strict=True):
        for _ in range(failures):
            worker.health.record_failure(ERROR, 0.0)
    return workers


def failed_on(*workers: PhoneWorker) -> Job:
    return Job(b"", failures=[(worker, ERROR) for worker in workers])


def takers(job: Job, workers: list[PhoneWorker], now_s: float = LATER_S) -> list[PhoneWorker]:
    return [worker for worker in workers if not worker.busy and next_job([job], worker, workers, now_s) is job]


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=4),
    st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=3),
)
def test_phones_that_have_rested_never_all_leave_a_job_to_each_other(
    failures_in_row: list[int], job_failures: list[list[int]]
) -> None:
    workers = workers_with(failures_in_row)
    jobs = [failed_on(*(workers[number % len(workers)] for number in numbers)) for numbers in job_failures]
    assert any(next_job(jobs, worker, workers, LATER_S) for worker in workers)


def test_any_idle_phone_takes_a_fresh_job() -> None:
    workers = workers_with([0, 0])
    assert takers(failed_on(), workers) == workers


def test_of_idle_phones_the_one_that_has_failed_less_of_late_takes_it() -> None:
    better, _ = workers = workers_with([1, 2])
    assert takers(failed_on(), workers) == [better]


def test_a_phone_that_has_failed_takes_fresh_jobs_while_the_better_one_is_busy() -> None:
    better, worse = workers = workers_with([0, 2])
    better.busy = True
    assert takers(failed_on(), workers) == [worse]


def test_a_failed_job_waits_for_another_phone_that_is_busy_or_rests() -> None:
    failed, busy, resting = workers = workers_with([0, 0, 1])
    busy.busy = True
    assert takers(failed_on(failed), [failed, busy]) == []
    assert takers(failed_on(failed), [failed, resting], now_s=0.0) == [resting]
    assert next_job([failed_on(failed)], failed, workers, 0.0) is None


def test_a_failed_job_does_not_wait_for_a_phone_in_quarantine() -> None:
    failed, quarantined = workers = workers_with([1, 4])
    quarantined.busy = True
    assert takers(failed_on(failed), workers) == [failed]


def test_a_later_job_is_taken_when_the_first_is_better_left() -> None:
    one, other = workers = workers_with([0, 0])
    other.busy = True
    first, second = failed_on(one), failed_on()
    assert next_job([first, second], one, workers, LATER_S) is second
