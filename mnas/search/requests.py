"""What people ask of a search while it runs, and what it may spend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Requests:
    """What is asked of a search now.

    Attributes:
        paused: Start nothing new; what is pending goes on.
        stop: `drain` starts nothing new and ends the search when what is pending has ended. `now` ends it at once.
        cancelled: Trials that are to end as failed, with the kind `cancelled`.
    """

    paused: bool = False
    stop: Literal["drain", "now"] | None = None
    cancelled: frozenset[int] = frozenset()

    @property
    def notice(self) -> str:
        """Why nothing new may be started; empty if it may."""
        if self.stop is not None:
            return "stopping"
        return "paused" if self.paused else ""


class SearchControl(Protocol):
    """Hands requests to a search; asked at every step, at least every half second."""

    def requests(self) -> Requests:
        """Return what is asked of the search now."""


class NoControl:
    """Asks nothing."""

    def requests(self) -> Requests:
        """See `SearchControl`."""
        return Requests()


@dataclass(frozen=True)
class Budget:
    """What a search may spend, its earlier sessions included; None has no bound.

    Attributes:
        hours: Hours of searching.
        device_hours: Hours of training, summed over the workers.
        trials: Trials that train a network; repeats of an earlier network are not counted.
    """

    hours: float | None = None
    device_hours: float | None = None
    trials: int | None = None


@dataclass(frozen=True)
class Spent:
    """What a search has spent so far, in the units of `Budget`, but seconds."""

    search_s: float
    device_s: float
    trials: int


def used_up(budget: Budget, spent: Spent) -> str | None:
    """Return which part of a budget is used up, for people; None if there is something left."""
    if budget.hours is not None and spent.search_s >= 3600 * budget.hours:
        return f"search.budget.hours: {budget.hours:g} hours are used up"
    if budget.device_hours is not None and spent.device_s >= 3600 * budget.device_hours:
        return f"search.budget.device_hours: {budget.device_hours:g} hours of training are used up"
    if budget.trials is not None and spent.trials >= budget.trials:
        return f"search.budget.trials: {budget.trials} networks were trained"
    return None
