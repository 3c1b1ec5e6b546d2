"""What this host computes for a model.

A phone's output must have the same checksum.
"""

from __future__ import annotations

import os

from latency.host.runner_process import RunnerProcess
from latency.measurement.protocol import MeasurementSettings


class ExpectedOutput:
    """Runs models once, in a process of its own, which a model may crash.

    `close` ends it. For one thread at a time.
    """

    def __init__(self) -> None:
        self._runner: RunnerProcess | None = None

    def checksum(self, model: bytes, settings: MeasurementSettings) -> float | None:
        """Return the checksum of the model's output for the protocol's inputs.

        None if it is not finite.

        Raises:
            CandidateError: This host's engine does not take or run the model.
            PhoneError: `runner_died`, `timeout`.
            ToolError: As `RunnerProcess` does.
        """
        if self._runner is not None and not self._runner.alive:
            self._runner.kill()
            self._runner = None
        if self._runner is None:
            self._runner = RunnerProcess(max(os.sched_getaffinity(0)))
        try:
            answer = self._runner.load(model, 0, 0.0, settings.load_timeout_s)
        finally:
            if self._runner.alive:
                self._runner.ask({"op": "release"}, settings.load_timeout_s)
        checksum: float | None = answer["output_checksum"]
        return checksum

    def close(self) -> None:
        """End the process; closing twice is allowed."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None
