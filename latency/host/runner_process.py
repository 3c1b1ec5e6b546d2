"""The timing runner of the host, seen from outside.

It is started, asked, and replaced when it fails.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from latency.errors import CandidateError, PhoneError, PhoneTimeoutError, RunnerCrashedError, ToolError
from latency.host.line_process import LineProcess, ProcessEndedError
from mnas.documents.json_text import parse_json

START_TIMEOUT_S = 60.0
CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP})
"""Signals by which a process ends through a fault of its own."""
# A runner that has computed for so large a share of a time-out is not stuck: the model does not end.
_COMPUTING_SHARE = 0.25
# Requests that run the caller's model, not the reference network.
_MODEL_OPERATIONS = ("load", "time")


class RunnerProcess:
    """One `latency.host.runner` process, pinned to `core`.

    The model's bytes go through a file in memory that has no name and that both processes hold open: nothing is left
    behind however either of them ends.

    Raises:
        ToolError: `runner_start`.
    """

    def __init__(self, core: int) -> None:
        self._model_file = os.fdopen(os.memfd_create("model"), "r+b")
        model_fd = self._model_file.fileno()
        command = [sys.executable, "-m", "latency.host.runner", str(core), str(model_fd)]
        # The runner finds the modules that this process finds, wherever it was started.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            self._process = LineProcess(command, environment, pass_fds=(model_fd,))
        except OSError as error:
            raise ToolError("runner_start", f"cannot start the host's runner: {error}") from error
        try:
            hello = _answer(self._process.receive(START_TIMEOUT_S))
            self.engine, self.engine_version = str(hello["engine"]), str(hello["engine_version"])
        except (ProcessEndedError, TimeoutError, ValueError, KeyError) as error:
            self._process.kill()
            raise ToolError("runner_start", f"the host's runner did not start: {error}") from error

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.alive

    def load(self, model: bytes, warmup_runs: int, warmup_min_ms: float, timeout_s: float) -> dict[str, Any]:
        """Load the model and warm it up; raise as `ask` does."""
        self._hand_over(model)
        request = {
            "op": "load",
            "size": len(model),
            "warmup_runs": warmup_runs,
            "warmup_min_ms": warmup_min_ms,
        }
        return self.ask(request, timeout_s)

    def load_reference(self, model: bytes, timeout_s: float) -> None:
        """Load the reference network, which stays loaded next to the models.

        Raise as `ask` does.
        """
        self._hand_over(model)
        self.ask({"op": "load_reference", "size": len(model)}, timeout_s)

    def _hand_over(self, model: bytes) -> None:
        self._model_file.seek(0)
        self._model_file.truncate()
        self._model_file.write(model)
        self._model_file.flush()

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the runner's answer to one request.

        Raises:
            CandidateError: The model fails and the runner goes on, or the model does not end and the runner is ended.
            PhoneError: `timeout`, `runner_died`: the runner fails, and is ended. RunnerCrashedError if it was by a
                fault of its own.
            ToolError: `runner_protocol`: its answer makes no sense, and it is ended.
        """
        try:
            answer = self._exchange(request, timeout_s)
        except BaseException:
            # Ctrl-C included: an answer that nobody read must not be taken for the next one.
            self.kill()
            raise
        if not answer["ok"]:
            stage, error_text = str(answer.get("stage")), str(answer.get("error"))
            raise CandidateError("model_rejected", f"onnxruntime, stage {stage!r}: {error_text}", stage)
        return answer

    def close(self) -> None:
        """End it in good order."""
        self._process.close()
        self._model_file.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._model_file.close()

    def _exchange(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        operation = request["op"]
        cpu_s = self._process.cpu_s
        try:
            return _answer(self._process.ask(json.dumps(request), timeout_s))
        except TimeoutError as error:
            computed_s = self._process.cpu_s - cpu_s
            if operation in _MODEL_OPERATIONS and computed_s > _COMPUTING_SHARE * timeout_s:
                raise CandidateError(
                    "model_rejected",
                    f"the model does not end: onnxruntime has computed for {computed_s:.0f} s of {timeout_s:g} s on "
                    "this machine. If it is only slow, raise load_timeout_s and window_timeout_s",
                    "run",
                ) from error
            raise PhoneTimeoutError(f"host runner: {operation!r} gave {error}; it was killed") from error
        except ProcessEndedError as error:
            message = f"host runner died during {operation!r}: {error}"
            if operation in _MODEL_OPERATIONS and self._process.ended_by in CRASHES:
                raise RunnerCrashedError(message) from error
            raise PhoneError("runner_died", message) from error
        except ValueError as error:
            message = f"host runner did not answer {operation!r} as it should: {error}"
            raise ToolError("runner_protocol", message) from error


def _answer(line: str) -> dict[str, Any]:
    """Return the runner's answer in one line.

    Raises:
        ValueError: It is none.
    """
    answer = parse_json(line, source="the answer")
    if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
        raise ValueError(f"{line[:200]!r} is no answer with `ok`")
    return answer
