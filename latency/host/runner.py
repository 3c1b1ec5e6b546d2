"""The process that times models on this machine.

`HostPhone` starts it as `python -m latency.host.runner`.

It pins itself to one core, then answers JSON requests, one line each way:

    {"op": "load", "size": bytes, "warmup_runs": n, "warmup_min_ms": ms}
        read the model from the shared file, make the session, warm it up
    {"op": "load_reference", "size": bytes}
        read the reference network from the shared file; it stays loaded
    {"op": "time_reference", "seconds": s, "runs": n}
        time the reference network again and again, for so long
    {"op": "time", "rewarm_runs": n, "rewarm_min_ms": ms, "runs": n, "min_runs": n, "budget_ms": ms,
     "reference_runs": n}
        run untimed, then timed, with the reference network before and after
    {"op": "release"}
        drop the session and its memory

An answer has `ok`; if that is false it has the `stage` that failed and the `error`. The process ends when its standard
input does, even in the middle of a run. Its only heavy imports are NumPy and ONNX Runtime. It times the engine as it is
deployed: one thread, sequential execution, all graph optimisations.
"""

from __future__ import annotations

import gc
import json
import math
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort

from latency.measurement.input_shapes import OpenShapeError, resolve_shape
from latency.measurement.output_check import difference, output_sums

SAME_OUTPUT = 1e-6
"""Largest difference between two runs of one session in one thread, which add in the same order."""


MAX_INPUT_ELEMENTS = 2**28
"""As in `engine.c`: an absurd shape must not take all memory."""


class StageError(Exception):
    """The model failed in a stage: `load`, `inputs` or `run`."""

    def __init__(self, stage: str, cause: object) -> None:
        super().__init__(stage, cause)
        self.stage = stage
        self.cause = cause


def fixed_input(shape: list[int], position: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the protocol's input: float32 in [-1, 1).

    Each element is a multiplicative (Knuth) hash of its index.

    It takes plain 32-bit arithmetic, so that a runner in another language makes the same numbers.

    Args:
        shape: Shape of the input.
        position: The input's place in the model's list of inputs.
    """
    index = np.arange(math.prod(shape), dtype=np.uint32) + np.uint32(position + 1)
    hashed = index * np.uint32(2654435761)
    return (hashed.astype(np.float64) / 2**31 - 1.0).astype(np.float32).reshape(shape)


class LoadedModel:
    """A session with its inputs.

    Raises:
        StageError: The engine does not take the model, or its inputs cannot be made up.
    """

    def __init__(self, model: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        started_ns = time.perf_counter_ns()
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # The engine's exceptions have no common base below Exception.
            raise StageError("load", error) from error
        self.load_ms = (time.perf_counter_ns() - started_ns) / 1e6
        self._feed = {}
        for position, argument in enumerate(self._session.get_inputs()):
            if argument.type != "tensor(float)":
                raise StageError(
                    "inputs", f"input {argument.name!r} is {argument.type}; only tensor(float) can be timed"
                )
            try:
                shape = resolve_shape(argument.name, argument.shape)
            except OpenShapeError as error:
                raise StageError("inputs", error) from error
            if math.prod(shape) > MAX_INPUT_ELEMENTS:
                raise StageError("inputs", f"input {argument.name!r} has more than {MAX_INPUT_ELEMENTS} elements")
            self._feed[argument.name] = fixed_input(list(shape), position)
        self._run = self._unbound_run

    @property
    def input_shapes(self) -> dict[str, list[int]]:
        """The shapes of the inputs, by name."""
        return {name: list(array.shape) for name, array in self._feed.items()}

    def _unbound_run(self) -> object:
        return self._session.run(None, self._feed)

    def _bound_run(self) -> Callable[[], object]:
        """Return a run whose inputs and outputs are bound once.

        Handing arrays over at every run costs some 7 microseconds, a tenth of a small network's time. A model whose
        outputs have another rank than it declares runs, but cannot be bound; nor can outputs that are no tensors.
        """
        try:
            binding = self._session.io_binding()
            for name, array in self._feed.items():
                binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
            for output in self._session.get_outputs():
                binding.bind_output(output.name, "cpu")
            self._session.run_with_iobinding(binding)
        except Exception:  # As in __init__.
            return self._unbound_run
        return partial(self._session.run_with_iobinding, binding)

    def _infer(self) -> None:
        try:
            self._run()
        except Exception as error:  # As in __init__.
            raise StageError("run", error) from error

    def first_run(self) -> tuple[float, float | None]:
        """Run the first inference, and a second one whose outputs must be the same.

        Returns:
            The time of the first in ms, and the sum of the absolute outputs (None if not finite).

        Raises:
            StageError: `run`: it fails, or its outputs differ from run to run.
        """
        started_ns = time.perf_counter_ns()
        try:
            outputs = self._session.run(None, self._feed)
        except Exception as error:  # As above.
            raise StageError("run", error) from error
        first_run_ms = (time.perf_counter_ns() - started_ns) / 1e6
        checksum = 0.0
        for output in outputs:
            if isinstance(output, np.ndarray) and output.dtype.kind in "fiub":
                checksum += float(np.abs(output.astype(np.float64)).sum())
        self.output_sums = output_sums(outputs)
        try:
            again = self._session.run(None, self._feed)
        except Exception as error:  # As above.
            raise StageError("run", error) from error
        # Equal bits are the rule, and quicker to see than sums.
        apart = 0.0 if _all_equal(again, outputs) else difference(output_sums(again), self.output_sums) or 0.0
        if apart > SAME_OUTPUT:
            raise StageError(
                "run",
                f"its output differs from run to run by {min(apart, 1e9):.1%} with the same input, so what a phone "
                "computes cannot be compared; are there random operators, or dropout in training mode?",
            )
        self._run = self._bound_run()
        return first_run_ms, checksum if math.isfinite(checksum) else None

    def run_untimed(self, min_runs: int, min_ms: float) -> int:
        """Run until both minima are reached; return the number of runs."""
        deadline_ns = time.perf_counter_ns() + int(min_ms * 1e6)
        runs = 0
        while runs < min_runs or time.perf_counter_ns() < deadline_ns:
            self._infer()
            runs += 1
        return runs

    def run_timed(self, runs: int, min_runs: int, budget_ms: float, machine: Machine) -> dict[str, Any]:
        """Time up to `runs` runs; after `budget_ms`, no more than `min_runs`.

        Returns:
            `wall_ms` and `cpu_ms` of each run, and `others_busy`: how busy the machine was just before the runs, on
            average.
        """
        run = self._run
        wall_clock, cpu_clock = time.perf_counter_ns, time.thread_time_ns
        wall_ms: list[float] = []
        cpu_ms: list[float] = []
        others_busy: list[float] = []
        deadline_ns = wall_clock() + int(budget_ms * 1e6)
        while len(wall_ms) < runs and (len(wall_ms) < min_runs or wall_clock() < deadline_ns):
            if (busy := machine.others_busy()) is not None:
                others_busy.append(busy)
            cpu_start = cpu_clock()
            wall_start = wall_clock()
            try:
                run()
            except Exception as error:  # As in __init__; entering `try` costs nothing.
                raise StageError("run", error) from error
            wall_end = wall_clock()
            cpu_end = cpu_clock()
            wall_ms.append((wall_end - wall_start) / 1e6)
            cpu_ms.append((cpu_end - cpu_start) / 1e6)
        mean_busy = sum(others_busy) / len(others_busy) if others_busy else None
        return {"wall_ms": wall_ms, "cpu_ms": cpu_ms, "others_busy": mean_busy}


def _all_equal(outputs: list[object], others: list[object]) -> bool:
    pairs = zip(outputs, others, strict=True)
    return all(
        isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.tobytes() == other.tobytes()
        for one, other in pairs
    )


class Machine:
    """How busy the whole machine is, without this process."""

    def __init__(self) -> None:
        self._cores = os.cpu_count() or 1
        try:
            self._loadavg: int | None = os.open("/proc/loadavg", os.O_RDONLY)
        except OSError:
            self._loadavg = None

    def others_busy(self) -> float | None:
        """Return the other threads that run or could run now, as a share of the cores.

        None if unreadable.

        It takes some microseconds. The calling thread runs too and is not counted.
        """
        if self._loadavg is None:
            return None
        # "0.20 0.18 0.12 1/80 11206": the fourth field starts with the number of runnable threads.
        runnable = os.pread(self._loadavg, 64, 0).split()[3].partition(b"/")[0]
        return max(0, int(runnable) - 1) / self._cores


class Runner:
    """Answers the requests; holds at most one model and the reference network."""

    def __init__(self, core: int, model_fd: int) -> None:
        self._frequency_folder = Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq")
        self._model_fd = model_fd
        self._machine = Machine()
        self._model: LoadedModel | None = None
        self._reference: LoadedModel | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request."""
        operation = request.pop("op")
        try:
            if operation == "load":
                return self._load(**request)
            if operation == "load_reference":
                return self._load_reference(**request)
            if operation == "time_reference":
                return self._time_reference(**request)
            if operation == "time":
                return self._time(**request)
            if operation == "release":
                return self._release()
        except StageError as error:
            self._release()
            return {"ok": False, "stage": error.stage, "error": str(error.cause)[:4000]}
        raise ValueError(f"unknown op {operation!r}")

    def _load(self, size: int, warmup_runs: int, warmup_min_ms: float) -> dict[str, Any]:
        self._release()
        model = LoadedModel(_read(self._model_fd, size))
        first_run_ms, checksum = model.first_run()
        started_ns = time.perf_counter_ns()
        runs = model.run_untimed(warmup_runs, warmup_min_ms)
        warmup_ms = (time.perf_counter_ns() - started_ns) / 1e6
        self._model = model
        return {
            "ok": True,
            "load_ms": model.load_ms,
            "first_run_ms": first_run_ms,
            "warmup_runs": runs,
            "warmup_ms": warmup_ms,
            "output_checksum": checksum,
            "output_sums": model.output_sums,
            "input_shapes": model.input_shapes,
            "governor": self._governor(),
        }

    def _load_reference(self, size: int) -> dict[str, Any]:
        self._reference = LoadedModel(_read(self._model_fd, size))
        self._reference.first_run()
        self._reference.run_untimed(10, 100.0)
        return {"ok": True}

    def _time_reference(self, seconds: float, runs: int) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        reference_ms: list[float] = []
        others_busy: list[float] = []
        while not reference_ms or time.monotonic() < deadline:
            others_busy.append(self._machine.others_busy() or 0.0)
            reference_ms.append(self._reference_ms(runs))
            time.sleep(0.02)
        return {"ok": True, "reference_ms": reference_ms, "others_busy": others_busy}

    def _reference_ms(self, runs: int) -> float:
        if self._reference is None:
            raise ValueError("the reference network is not loaded")
        self._reference.run_untimed(3, 0.0)
        return float(median(self._reference.run_timed(runs, runs, 0.0, self._machine)["wall_ms"]))

    def _time(
        self, rewarm_runs: int, rewarm_min_ms: float, runs: int, min_runs: int, budget_ms: float, reference_runs: int
    ) -> dict[str, Any]:
        if self._model is None:
            raise ValueError("op 'time' needs a loaded model")
        reference_before_ms = self._reference_ms(reference_runs)
        self._model.run_untimed(rewarm_runs, rewarm_min_ms)
        frequency_khz_before = self._frequency_khz()
        switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        timed = self._model.run_timed(runs, min_runs, budget_ms, self._machine)
        switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - switches
        return {
            "ok": True,
            **timed,
            "involuntary_switches": switches,
            "frequency_khz_before": frequency_khz_before,
            "frequency_khz_after": self._frequency_khz(),
            "frequency_khz_max": self._frequency_khz("cpuinfo_max_freq"),
            "reference_before_ms": reference_before_ms,
            "reference_after_ms": self._reference_ms(reference_runs),
        }

    def _release(self) -> dict[str, Any]:
        self._model = None
        gc.collect()
        return {"ok": True}

    def _governor(self) -> str | None:
        try:
            return (self._frequency_folder / "scaling_governor").read_text().strip()
        except OSError:  # Virtual machines and containers do not show it.
            return None

    def _frequency_khz(self, name: str = "scaling_cur_freq") -> int | None:
        try:
            return int((self._frequency_folder / name).read_text())
        except (OSError, ValueError):
            return None


def _read(fd: int, size: int) -> bytes:
    """Return the first `size` bytes of the shared file.

    Its offset belongs to the writer.
    """
    pieces = []
    offset = 0
    while offset < size:
        piece = os.pread(fd, size - offset, offset)
        if not piece:
            raise ValueError(f"the model file ends after {offset} of {size} bytes")
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)


def _forward_requests(requests: queue.SimpleQueue[str]) -> None:
    """Pass the lines of standard input on.

    End the process when they end, whatever it is doing.
    """
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def main() -> None:
    """Serve until standard input ends.

    The arguments are the core and the descriptor of the shared model file.
    """
    core, model_fd = int(sys.argv[1]), int(sys.argv[2])
    os.sched_setaffinity(0, {core})
    # What a library prints must not mix with the answers, so these get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_forward_requests, args=(requests,), daemon=True).start()
    gc.disable()  # No collection inside a timed run; each release collects,
    gc.freeze()  # and need not look through what the imports have made.
    runner = Runner(core, model_fd)
    hello = {"ok": True, "engine": "onnxruntime", "engine_version": ort.__version__}
    answers.write(json.dumps({**hello, "core": sorted(os.sched_getaffinity(0))}) + "\n")
    while True:
        answers.write(json.dumps(runner.answer(json.loads(requests.get()))) + "\n")


if __name__ == "__main__":
    main()
