"""This machine as a phone.

ONNX Runtime runs on one thread and one core, in a process of its own.
"""

from __future__ import annotations

import os
import platform
import threading
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path

from latency.errors import PhoneUnknownError, RunnerCrashedError
from latency.host.expected_output import crashing_model
from latency.host.quiet import Quiet
from latency.host.runner_process import RunnerProcess
from latency.leases.between_processes import PhoneLeases, user_leases
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, LoadReport, PhoneIdentity, Session, model_sha256
from latency.measurement.reference_network import reference_model
from latency.measurement.window import TimedWindow
from latency.sessions import best_reference, better_reference, measure_sessions
from latency.waiting import said

REFERENCE_TIMEOUT_S = 60.0


class HostPhone:
    """Times models on one core of this machine.

    Safe to share between threads, which take turns.

    Windows are rejected in which anything else is busy, on any core, or in which the core is slower than at its best,
    from any cause: a reference network is timed next to every candidate.

    Processes of this user take turns on the machine, on all its cores: what is timed on one core disturbs another.

    Args:
        name: What the user calls the phone.
        core: The core to time on. The default is the last one that this process may use; the first ones get most
            interrupts.
        quiet: Makes the context in which a window is timed, entered when the model is loaded and warm. A caller with
            work of its own on this machine passes one that pauses that work (`ProcessPauser.window`), for the timed
            runs only.
        leases: The leases between processes; those of this user if None.

    Raises:
        PhoneUnknownError: This process may not use that core.
    """

    def __init__(
        self,
        name: str = "host",
        core: int | None = None,
        quiet: Quiet = nullcontext,
        leases: PhoneLeases | None = None,
    ) -> None:
        allowed = os.sched_getaffinity(0)
        if core is not None and core not in allowed:
            raise PhoneUnknownError(f"phone {name!r}: core {core} is not one of {sorted(allowed)}")
        self.name = name
        self._core = max(allowed) if core is None else core
        self._quiet = quiet
        self._leases = leases or user_leases()
        self._lock = threading.Lock()
        self._runner: RunnerProcess | None = None
        self._reference_best_ms: float | None = None

    @property
    def runner_pid(self) -> int | None:
        """Process id of the runner; None if there is none."""
        return None if self._runner is None else self._runner.pid

    def identify(self) -> PhoneIdentity:
        """See `PhoneBackend`; the serial is the host's name, the fingerprint its processor and kernel.

        Nothing is timed, so no lease is needed.
        """
        with self._lock:
            return self._identity(self._running_runner())

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """See `PhoneBackend`.

        Raises:
            PhoneUnstableError: No window was steady; it carries the record with every rejected window.
            PhoneError: `phone_busy`, `lease_lost`, `timeout`, `runner_died`.
        """
        with self._lock, self._leases.hold(_serial()):
            try:
                return self._measure_once(model, settings)
            except RunnerCrashedError:
                try:
                    return self._measure_once(model, settings)
                except RunnerCrashedError as error:
                    raise crashing_model(error) from error

    def close(self) -> None:
        """See `PhoneBackend`."""
        with self._lock:
            if self._runner is not None:
                self._runner.close()
                self._runner = None

    def _measure_once(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        runner = self._running_runner()
        try:
            return self._measure(runner, model, settings)
        finally:
            if runner.alive:
                runner.ask({"op": "release"}, settings.load_timeout_s)

    def _running_runner(self) -> RunnerProcess:
        if self._runner is not None and not self._runner.alive:
            self._runner.kill()
            self._runner = None
        if self._runner is None:
            self._runner = RunnerProcess(self._core)
            self._runner.load_reference(reference_model(), REFERENCE_TIMEOUT_S)
        return self._runner

    def _calibrate(self, runner: RunnerProcess, settings: MeasurementSettings) -> float:
        """Return the best time of the reference network on an idle machine, in ms."""
        request = {"op": "time_reference", "seconds": settings.calibration_s, "runs": settings.reference_runs}

        def time_reference() -> tuple[list[float], list[float]]:
            with self._quiet():
                timed = runner.ask(request, settings.window_timeout_s)
            return timed["reference_ms"], timed["others_busy"]

        advice = "stop it, or pass a quiet context that pauses it"
        return best_reference(time_reference, settings, name=f"phone {self.name!r}", advice=advice)

    def _identity(self, runner: RunnerProcess) -> PhoneIdentity:
        return PhoneIdentity(
            name=self.name,
            kind="host",
            serial=_serial(),
            fingerprint=f"{_processor_name()}, {platform.system()} {platform.release()}",
            engine=runner.engine,
            engine_version=runner.engine_version,
            runtime=f"{runner.engine} {runner.engine_version} of Python",
            core=self._core,
        )

    def _measure(self, runner: RunnerProcess, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        loaded: LoadReport | None = None
        shapes: dict[str, tuple[int, ...]] = {}

        def attempt(new_session: bool) -> Session:
            nonlocal loaded
            if new_session:
                most = f"at most {settings.load_timeout_s:g} s"
                with said(f"phone {self.name!r}: loading the model and warming it up, {most}"):
                    loaded, told = _load(runner, model, settings)
                shapes.update(told)
            if self._reference_best_ms is None:
                self._reference_best_ms = self._calibrate(runner, settings)
            return Session(loaded, self._timed_window(runner, settings))

        advice = f"Keep core {self._core} free while it measures, or pass a quiet context that pauses other work"
        record = measure_sessions(attempt, model_sha256(model), self._identity(runner), settings, advice=advice)
        return replace(record, input_shapes=shapes)

    def _timed_window(self, runner: RunnerProcess, settings: MeasurementSettings) -> TimedWindow:
        request = {
            "op": "time",
            "rewarm_runs": settings.rewarm_runs,
            "rewarm_min_ms": settings.rewarm_min_ms,
            "runs": settings.runs,
            "min_runs": settings.min_runs,
            "budget_ms": settings.window_budget_ms,
            "reference_runs": settings.reference_runs,
        }
        with self._quiet():
            timed = runner.ask(request, settings.window_timeout_s)
        before_ms, after_ms = timed["reference_before_ms"], timed["reference_after_ms"]
        self._reference_best_ms = better_reference(self._reference_best_ms, before_ms, after_ms, settings)
        return TimedWindow(
            wall_ms=tuple(timed["wall_ms"]),
            cpu_ms=tuple(timed["cpu_ms"]),
            involuntary_switches=timed["involuntary_switches"],
            others_busy=timed["others_busy"],
            reference_before_ms=before_ms,
            reference_after_ms=after_ms,
            reference_best_ms=self._reference_best_ms,
            frequency_khz_before=timed["frequency_khz_before"],
            frequency_khz_after=timed["frequency_khz_after"],
            frequency_khz_max=timed["frequency_khz_max"],
        )


def _load(
    runner: RunnerProcess, model: bytes, settings: MeasurementSettings
) -> tuple[LoadReport, dict[str, tuple[int, ...]]]:
    """Load the model; return what is known of it then, and the shapes of its inputs."""
    answer = runner.load(model, settings.warmup_runs, settings.warmup_min_ms, settings.load_timeout_s)
    told = {field.name: answer[field.name] for field in fields(LoadReport)}
    shapes = {name: tuple(shape) for name, shape in answer["input_shapes"].items()}
    return LoadReport(**{**told, "output_sums": tuple(told["output_sums"])}), shapes


def _serial() -> str:
    return platform.node()


def _processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()  # Arm kernels give no model name.
