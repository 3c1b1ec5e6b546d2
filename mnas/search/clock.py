"""What a search waits with: the clock of this machine. A simulation has its own (`mnas.search.simulation`)."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def seconds(self) -> float:
        """Return the time in seconds since some moment."""

    def wait(self, futures: Collection[Future[Mapping[str, Any]]], timeout_s: float) -> set[Future[Mapping[str, Any]]]:
        """Wait until a future has ended, at most `timeout_s` seconds; return those that have."""


class RealClock:
    """The clock of this machine."""

    def seconds(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wait(self, futures: Collection[Future[Mapping[str, Any]]], timeout_s: float) -> set[Future[Mapping[str, Any]]]:
        """See `Clock`."""
        if not futures:
            time.sleep(timeout_s)
        return wait(futures, timeout=timeout_s, return_when=FIRST_COMPLETED).done
