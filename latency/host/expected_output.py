"""What this host computes for a model.

A phone's outputs must have the same sums.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latency.errors import CandidateError, RunnerCrashedError
from latency.host.runner_process import RunnerProcess
from latency.measurement.protocol import MeasurementSettings


@dataclass(frozen=True)
class HostOutput:
    """What a model computes here.

    Attributes:
        sums: See `latency.measurement.output_check`.
        input_shapes: The shapes that its inputs were given, by name.
    """

    sums: tuple[float, ...]
    input_shapes: Mapping[str, tuple[int, ...]]


class ExpectedOutput:
    """Runs models once, in a process of its own, which a model may crash.

    `close` ends it. For one thread at a time.
    """

    def __init__(self) -> None:
        self._runner: RunnerProcess | None = None

    def of(self, model: bytes, settings: MeasurementSettings) -> HostOutput:
        """Return what the model computes for the protocol's inputs.

        Raises:
            CandidateError: This host's engine does not take or run the model: it fails, does not end, differs from run
                to run, or crashes the engine twice.
            PhoneError: `runner_died`, `timeout`.
            ToolError: As `RunnerProcess` does.
        """
        try:
            answer = self._load(model, settings)
        except RunnerCrashedError:
            try:
                answer = self._load(model, settings)
            except RunnerCrashedError as error:
                raise crashing_model(error) from error
        shapes = {name: tuple(shape) for name, shape in answer["input_shapes"].items()}
        return HostOutput(tuple(answer["output_sums"]), shapes)

    def close(self) -> None:
        """End the process; closing twice is allowed."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _load(self, model: bytes, settings: MeasurementSettings) -> dict[str, Any]:
        if self._runner is not None and not self._runner.alive:
            self._runner.kill()
            self._runner = None
        if self._runner is None:
            self._runner = RunnerProcess(max(os.sched_getaffinity(0)))
        try:
            return self._runner.load(model, 0, 0.0, settings.load_timeout_s)
        finally:
            if self._runner.alive:
                self._runner.ask({"op": "release"}, settings.load_timeout_s)


def crashing_model(error: RunnerCrashedError) -> CandidateError:
    """Return the error for a model that has crashed two runners in a row."""
    return CandidateError("model_rejected", f"the model crashes onnxruntime, in two fresh processes: {error}", "run")
