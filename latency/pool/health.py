"""How long a phone rests after failures: back-off first, quarantine if they go on.

A broken phone that is asked again and again without rest has taken whole racks of phones down with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from latency.errors import LatencyError


@dataclass(frozen=True)
class RetryPolicy:
    """How often to try a measurement again, and how long a failed phone rests.

    The defaults suit a search over several phones.

    Raises:
        ValueError: A value is out of its range.
    """

    retries: int = 4
    """How often one measurement is tried again after failures of phone or tool; every phone may try it once."""
    first_delay_s: float = 0.5
    """Rest after a failure; doubles with each further one in a row."""
    max_delay_s: float = 10.0
    """Longest rest outside quarantine."""
    quarantine_after: int = 4
    """Failures in a row after which a phone is in quarantine, until it measures something again."""
    quarantine_s: float = 30.0
    """First rest in quarantine; doubles with each further failure."""
    max_quarantine_s: float = 300.0
    """Longest rest in quarantine."""
    patience_s: float = 300.0
    """How long measurements wait while every phone is in quarantine; then they fail together."""

    def __post_init__(self) -> None:
        times_s = (self.first_delay_s, self.max_delay_s, self.quarantine_s, self.max_quarantine_s, self.patience_s)
        if self.retries < 0 or min(times_s) < 0:
            raise ValueError(f"{self}: retries and times must not be negative")
        if self.quarantine_after < 1:
            raise ValueError(f"{self}: quarantine_after must be at least 1")

    def rest_s(self, failures: int) -> float:
        """Return the rest after so many failures in a row (at least 1), in s."""
        beyond = failures - self.quarantine_after
        if beyond < 0:
            return _doubled(self.first_delay_s, failures - 1, self.max_delay_s)
        return _doubled(self.quarantine_s, beyond, self.max_quarantine_s)


def _doubled(first_s: float, times: int, limit_s: float) -> float:
    return min(first_s * 2.0 ** min(times, 100), limit_s)


PhoneState = Literal["idle", "busy", "resting", "quarantined"]


@dataclass(frozen=True)
class PhoneStatus:
    """The state of one phone of a service, to be shown."""

    label: str
    """The phone's name, and its serial and core once they are known."""
    state: PhoneState
    measured: int
    """Measurements that gave a latency."""
    failures: int
    """Failures of the phone or of this program, bad candidates not counted."""
    last_error: str | None
    """What was said at the last failure; None while there has been none."""


class PhoneHealth:
    """The failures of one phone; not safe to share between threads. It reads no clock."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.measured = 0
        self.failures = 0
        self.failures_in_row = 0
        self.rests_until = 0.0
        """Monotonic time before which the phone gets no work."""
        self.quarantined_since: float | None = None
        """Monotonic time of the failure that brought it into quarantine; None outside."""
        self.last_error: LatencyError | None = None
        self.last_failure_s = -math.inf
        """Monotonic time of the last failure."""

    @property
    def quarantined(self) -> bool:
        """Whether it is in quarantine.

        It may try again after its rest, but no work waits for it.
        """
        return self.quarantined_since is not None

    def record_success(self) -> None:
        """Record a success: end the quarantine and reset the count of failures."""
        self.failures_in_row = 0
        self.quarantined_since = None

    def record_failure(self, error: LatencyError, now_s: float) -> None:
        """Record a failure at this monotonic time."""
        self.failures += 1
        self.failures_in_row += 1
        self.last_error = error
        self.last_failure_s = now_s
        self.rests_until = now_s + self._policy.rest_s(self.failures_in_row)
        if self.quarantined_since is None and self.failures_in_row >= self._policy.quarantine_after:
            self.quarantined_since = now_s
