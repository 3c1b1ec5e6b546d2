"""Parts of the searches of an audit: a controller that proposes what it is given, and latencies that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from controllers import ControllerError, Decisions, StateValue
from mnas.errors import FailureKind, TrialError
from search_space import Architecture, fingerprint


class FixedProposals:
    """A controller that proposes given decisions in their order, each once, and learns nothing."""

    def __init__(self, proposals: Sequence[Decisions]) -> None:
        self._proposals = list(proposals)
        self._asked = 0

    def ask(self, count: int, /) -> list[Decisions]:
        """Return the next proposals; see `Controller`."""
        asked = self._proposals[self._asked : self._asked + count]
        self._asked += len(asked)
        return asked

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float], /) -> None:
        """Learn nothing."""

    def state(self) -> dict[str, StateValue]:
        """Return all proposals, and how many were asked for."""
        return {"proposals": np.array(self._proposals, np.int64), "asked": self._asked}

    def restore(self, state: dict[str, StateValue], /) -> None:
        """Go on from a state.

        Raises:
            ControllerError: It has other proposals.
        """
        if not np.array_equal(np.asarray(state["proposals"]), np.array(self._proposals, np.int64)):
            raise ControllerError(
                "this audit was started with other networks; give the same --networks, or start a new one with "
                "--run-dir"
            )
        self._asked = int(np.asarray(state["asked"]))


class KnownLatencies:
    """A latency meter that answers with records that are there already; see `LatencyMeter`."""

    def __init__(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the records of networks by their fingerprints."""
        self._records = records

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        """Return the record of an architecture; a network without one fails through no fault of its own."""
        future: Future[Mapping[str, Any]] = Future()
        record = self._records.get(fingerprint(architecture))
        if record is None:
            future.set_exception(TrialError(FailureKind.PHONE, "the network was not timed by the full trainings"))
        else:
            future.set_result(record)
        return future
