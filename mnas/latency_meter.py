"""From an architecture to its latency: the ONNX graph is built and handed to the latency service.

Latency needs structure, not weights: the graph carries random ones and is timed while the child still trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from latency import CandidateError, LatencyError, LatencyService, PhoneError
from mnas.failure import FailureKind, TrialError
from mnas.onnx_graph import build_onnx
from search_space import Architecture, SpaceError, lower


class OnnxLatencyMeter:
    """Builds and times architectures one after the other on a latency service, whose errors it gives their kinds."""

    def __init__(self, service: LatencyService, input_form: Mapping[str, int]) -> None:
        """`input_form` is what `search_space.lower` needs beside an architecture."""
        self._service = service
        self._input_form = input_form
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="latency-meter")

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        """Queue one measurement; the future raises TrialError where there is no latency."""
        return self._thread.submit(self._measure, architecture)

    def close(self) -> None:
        """Drop what is queued, wait for what runs."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _measure(self, architecture: Architecture) -> Mapping[str, Any]:
        try:
            model = build_onnx(lower(architecture, **self._input_form)).SerializeToString()
        except (SpaceError, ValueError) as error:
            raise TrialError(FailureKind.EXPORT, str(error)) from error
        try:
            record = self._service.submit(model).result()
        except CandidateError as error:
            raise TrialError(FailureKind.MODEL_REJECTED, str(error)) from error
        except PhoneError as error:
            raise TrialError(FailureKind.PHONE, str(error)) from error
        except LatencyError as error:
            raise TrialError(FailureKind.LATENCY_TOOL, str(error)) from error
        return {"latency_ms": record.latency_ms, **record.to_dict()}
