"""From an architecture to its latencies: the ONNX graph is built and handed to the latency services, one a phone model.

Latency needs structure, not weights: the graph carries random ones and is timed while the child still trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from latency import CandidateError, LatencyError, LatencyRecord, LatencyService, PhoneError
from mnas.errors import FailureKind, TrialError
from mnas.network.onnx_graph import build_onnx
from search_space import Architecture, SpaceError, lower


class OnnxLatencyMeter:
    """Builds architectures and times each on every phone model; errors of the services get their kinds.

    A result has `latency_ms` and the record of the phone called `named`, and under `others` the same of every other
    phone by name. Where one of them fails there is no result; what
    the rest have measured is in the cache.
    """

    def __init__(self, services: Mapping[str, LatencyService], named: str, input_form: Mapping[str, int]) -> None:
        """`input_form` is what `search_space.lower` needs beside an architecture.

        Raises ValueError where `named` has no service.
        """
        if named not in services:
            raise ValueError(f"no latency service is called {named!r}; there are {', '.join(services)}")
        self._services = services
        self._named = named
        self._input_form = input_form
        phones = sum(len(service.status()) for service in services.values())
        self._threads = ThreadPoolExecutor(phones, thread_name_prefix="latency-meter")

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        """Queue one measurement; the future raises TrialError where there is no latency."""
        return self._threads.submit(self._measure, architecture)

    def close(self) -> None:
        """Drop what is queued, wait for what runs."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _measure(self, architecture: Architecture) -> Mapping[str, Any]:
        try:
            model = build_onnx(lower(architecture, **self._input_form)).SerializeToString()
        except (SpaceError, ValueError) as error:
            raise TrialError(FailureKind.EXPORT, str(error)) from error
        futures = {name: service.submit(model) for name, service in self._services.items()}
        wait(futures.values())  # For all, whichever fails: what has been measured is in the cache.
        measured = {name: _measured(future) for name, future in futures.items()}
        named = measured.pop(self._named)
        return {**named, "others": measured} if measured else named


def _measured(future: Future[LatencyRecord]) -> dict[str, Any]:
    try:
        record = future.result()
    except CandidateError as error:
        raise TrialError(FailureKind.MODEL_REJECTED, str(error)) from error
    except PhoneError as error:
        raise TrialError(FailureKind.PHONE, str(error)) from error
    except LatencyError as error:
        raise TrialError(FailureKind.LATENCY_TOOL, str(error)) from error
    return {"latency_ms": record.latency_ms, **record.to_dict()}
