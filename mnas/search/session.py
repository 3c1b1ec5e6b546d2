"""One session of searching: the halves of trials that are pending, and what the search has spent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from mnas.errors import Failure
from mnas.search.clock import Clock
from mnas.search.requests import Spent
from mnas.search.results import checked_latency, checked_training, failure_of
from mnas.search.store import TrialStore

Half = Literal["training", "latency", "second"]
"""A part of a trial; `second` is the second training of its network (`SearchPlan.second_share`)."""
POLL_S = 0.5
# What a search spends is stored with every step, and this often when nothing ends.
KEEP_EVERY_S = 30.0


@dataclass(frozen=True)
class Ended:
    """A half that has ended.

    Attributes:
        owner: The number of its trial, or of the training of a finalist.
        half: Which half it is.
        result: What it returned, checked, or why it failed.
    """

    owner: int
    half: Half
    result: dict[str, Any] | Failure


class Session:
    """The trainings and measurements that are pending, and what the search has spent with its earlier sessions.

    Attributes:
        failures: The first failure of each owner that has one and has not ended.
        search_s: Seconds of searching.
        device_s: Seconds of training, summed over the workers.
    """

    def __init__(self, store: TrialStore, clock: Clock, workers: Callable[[], int], others: Iterable[str]) -> None:
        """Prepare a session; `begin` begins it.

        Args:
            store: Where it is kept.
            clock: What it waits with.
            workers: Returns how many children can train at a time.
            others: Further phones, whose latencies must be measured.
        """
        self._store, self._clock, self._workers, self._others = store, clock, workers, tuple(others)
        self._jobs: dict[Future[Mapping[str, Any]], tuple[int, Half]] = {}
        self._number = 0
        self._accounted_s = self._kept_s = 0.0
        self.failures: dict[int, Failure] = {}
        self.search_s = self.device_s = 0.0

    def begin(self) -> None:
        """Begin the session; one that still runs on the store can keep nothing more."""
        self._number, self.search_s, self.device_s = self._store.begin_session()
        self._accounted_s = self._kept_s = self._clock.seconds()

    def spent(self, trials: int) -> Spent:
        """Return what the search has spent, with this number of trials."""
        return Spent(self.search_s, self.device_s, trials)

    def account(self, *, keep: bool) -> None:
        """Add the time since the last call to what the search has spent; it is stored with a step, or now and then."""
        now_s = self._clock.seconds()
        passed_s = now_s - self._accounted_s
        self._accounted_s = now_s
        self.search_s += passed_s
        self.device_s += passed_s * self.workers_busy
        if keep or now_s - self._kept_s > KEEP_EVERY_S:
            self._kept_s = now_s
            self._store.keep_session(self._number, self.search_s, self.device_s)

    @property
    def in_training(self) -> int:
        """How many trainings are pending, those that wait for a worker included."""
        return sum(half != "latency" for _, half in self._jobs.values())

    @property
    def workers_busy(self) -> int:
        """How many children train now."""
        return min(self._workers(), self.in_training)

    @property
    def owners(self) -> set[int]:
        """Whose halves are pending."""
        return {owner for owner, _ in self._jobs.values()}

    def submit(self, owner: int, half: Half, submit: Callable[[], Future[Mapping[str, Any]]]) -> None:
        """Submit a half; if that fails, its owner has failed."""
        try:
            self._jobs[submit()] = (owner, half)
        except Exception as error:
            self.failures.setdefault(owner, failure_of(error))

    def cancel(self, owner: int) -> None:
        """Drop the halves of an owner that have not begun."""
        for future in [future for future, (its, _) in self._jobs.items() if its == owner]:
            if future.cancel():
                del self._jobs[future]

    def collect(self) -> list[Ended]:
        """Wait for a half to end, at most `POLL_S` seconds; return every one that has."""
        done = self._clock.wait(self._jobs, POLL_S)
        self.account(keep=False)
        # Futures are an unordered set; the store should not depend on their order.
        ended = sorted(((future, self._jobs.pop(future)) for future in done), key=lambda item: item[1])
        return [Ended(owner, half, self._result(half, future)) for future, (owner, half) in ended]

    def _result(self, half: Half, future: Future[Mapping[str, Any]]) -> dict[str, Any] | Failure:
        try:
            if half == "latency":
                return checked_latency(future.result(), self._others)
            return checked_training(future.result())
        except Exception as error:  # whatever it is, it must not end the search or keep it from going on
            return failure_of(error)
