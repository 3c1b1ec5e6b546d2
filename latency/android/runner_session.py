"""One run of the on-phone runner.

Its command line, and its answer as a session or an error.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from latency.adb.device import AdbDevice
from latency.adb.shell import ShellResult
from latency.android.exit_status import signal_of, signal_words
from latency.android.installation import MARK_USED, REFERENCE_NAME
from latency.android.profile import Milliseconds
from latency.errors import CandidateError, PhoneError, RunnerCrashedError, ToolError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LoadReport, Session
from latency.measurement.window import TimedWindow
from latency.runtime import RuntimeBundle
from latency.sessions import best_reference, better_reference
from mnas.documents.check import convert
from mnas.documents.errors import DocumentError
from mnas.documents.json_text import parse_json

# Stages of the runner in which the model is at fault; a failure in any other is the phone's or ours.
_CANDIDATE_STAGES = ("load", "inputs", "run")
_MAX_STAGE, _MAX_ERROR = 40, 4000
_MAX_LINES = 100  # The answer is the last line, unless the phone's own tools print more.
# The one field of a window that the runner does not tell.
_BEST = "reference_best_ms"

# The command must run in the folder of the runtime: `.` is in the library path. A runner whose connection was cut keeps
# running on the phone and would disturb the next one, so it is ended first. The mark `used` keeps other
# sessions from tidying the runtime away (`installation`). $1: folder; the rest: the command.
_IN_FOLDER = f"""
cd "$1" || exit 1{MARK_USED}
shift
if [ -f runner.pid ] && read -r old < runner.pid && [ -d "/proc/$old" ] &&
    grep -q mnas_runner "/proc/$old/cmdline" 2>/dev/null; then
    kill -9 "$old"
fi
echo $$ > runner.pid
exec "$@"
"""


class _ReferenceTimes(msgspec.Struct, frozen=True):
    """What a window tells of the reference network."""

    reference_before_ms: Milliseconds
    reference_after_ms: Milliseconds


class _Calibration(msgspec.Struct, frozen=True):
    """What a calibration tells: each time of the reference network, and how busy other work kept the phone then."""

    reference_ms: Annotated[list[Milliseconds], Meta(min_length=1)]
    others_busy: list[Annotated[float, Meta(ge=0)] | None]


@dataclass(frozen=True)
class PhoneRunner:
    """The installed runner of one connected phone.

    Attributes:
        device: The connected phone.
        bundle: The runtime.
        folder: Where the bundle is on the phone.
        core: The core to time on.
        threads: Threads of the engine.
    """

    device: AdbDevice
    bundle: RuntimeBundle
    folder: str
    core: int
    threads: int = 1

    @property
    def engine(self) -> str:
        """See `RuntimeBundle`."""
        return self.bundle.engine

    @property
    def engine_version(self) -> str:
        """See `RuntimeBundle`."""
        return self.bundle.engine_version

    @property
    def runtime(self) -> str:
        """Hash of the installed files."""
        return self.bundle.digest

    def model_file(self, model: bytes, timeout_s: float) -> bytes:
        """Return what is pushed for `model`: the model itself."""
        del timeout_s
        return model

    def try_out(self, settings: MeasurementSettings) -> None:
        """Time the reference network once.

        Raises:
            LatencyError: The runtime does not work on this phone; as `session` does.
        """
        self._run([*self._common(settings), "--calibrate-s", "0"], settings.load_timeout_s)

    def best_of_reference(self, settings: MeasurementSettings) -> float:
        """Return the best time of the reference network on a phone at rest, in ms.

        It is timed for `calibration_s`.

        Raises:
            PhoneUnstableError: Other work keeps the phone busy.
            LatencyError: As `session` does.
        """
        arguments = [*self._common(settings), "--calibrate-s", f"{settings.calibration_s:g}"]

        def time_reference() -> tuple[list[float], list[float]]:
            answer = self._run(arguments, settings.window_timeout_s)
            try:
                told = convert(answer, _Calibration, source="the calibration")
                # If the phone hides how busy it is, no time is doubted.
                pairs = list(zip(told.reference_ms, told.others_busy, strict=True))
                return [time_ms for time_ms, _ in pairs], [share or 0.0 for _, share in pairs]
            except ValueError as error:
                raise self._not_understood(str(error), json.dumps(answer)) from error

        advice = "close its apps, switch the screen off, try again"
        return best_reference(time_reference, settings, name=self.device.serial, advice=advice)

    def session(
        self, model_path: str, settings: MeasurementSettings, reference_best_ms: float | None
    ) -> tuple[Session, float | None]:
        """Load the model on the phone and time one window.

        Args:
            model_path: Where the model is on the phone.
            settings: The measurement protocol.
            reference_best_ms: The best time of the reference network so far, None if unknown.

        Returns:
            The session, accepted or not, and the best time of the reference network so far. The window's `others_busy`
            is None if the phone hides it.

        Raises:
            CandidateError: `model_rejected`: the engine does not take or run the model.
            PhoneError: `runner_died`, `timeout`, `core_unavailable`, and the kinds of the transport.
            ToolError: `runner_protocol`: the answer is not the runner's.
        """
        arguments = [
            *self._common(settings),
            *("--warmup-runs", str(settings.warmup_runs), "--warmup-min-ms", f"{settings.warmup_min_ms:g}"),
            *("--rewarm-runs", str(settings.rewarm_runs), "--rewarm-min-ms", f"{settings.rewarm_min_ms:g}"),
            *("--runs", str(settings.runs), "--min-runs", str(settings.min_runs)),
            *("--budget-ms", f"{settings.window_budget_ms:g}", model_path),
        ]
        answer = self._run(arguments, settings.load_timeout_s + settings.window_timeout_s)
        try:
            times = convert(answer, _ReferenceTimes, source="the reference network")
            before_ms, after_ms = times.reference_before_ms, times.reference_after_ms
            best_ms = better_reference(reference_best_ms, before_ms, after_ms, settings)
            told = {field.name: answer[field.name] for field in fields(TimedWindow) if field.name != _BEST}
            window = convert({**told, _BEST: best_ms}, TimedWindow, source="the timed window")
            report = {field.name: answer[field.name] for field in fields(LoadReport)}
            sums = convert(answer["output_sums"], list[float | None], source="output_sums")
            report["output_sums"] = [value or 0.0 for value in sums]  # Too large for a double: as on the host.
            loaded = convert(report, LoadReport, source="the loaded model")
            if len(window.wall_ms) > settings.runs:
                raise ValueError(f"{len(window.wall_ms)} runs, and {settings.runs} were asked for")
        except (KeyError, TypeError, ValueError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise self._not_understood(what, json.dumps(answer)) from error
        if answer.get("moved"):
            raise PhoneError(
                "core_unavailable",
                f"{self.device.serial}: the timed thread left core {self.core} during the window; choose a core that "
                "the phone does not switch off: `core` in the phone's profile",
            )
        return Session(loaded, window), best_ms

    def _common(self, settings: MeasurementSettings) -> list[str]:
        return [
            *("--cpu", str(self.core), "--threads", str(self.threads)),
            *("--reference", REFERENCE_NAME, "--reference-runs", str(settings.reference_runs)),
        ]

    def _run(self, arguments: Sequence[str], timeout_s: float) -> dict[str, Any]:
        command = ["sh", "-c", _IN_FOLDER, "mnas", self.folder, *self.bundle.command(arguments)]
        result = self.device.shell(command, timeout_s=timeout_s)
        answer = _last_json_line(result.stdout)
        if answer is None:
            raise self._silent(result, timeout_s)
        if answer.get("ok") is not True:
            raise self._failed(answer)
        return answer

    def _silent(self, result: ShellResult, timeout_s: float) -> PhoneError | ToolError:
        """Return the error for a runner that ended without its line."""
        words = result.last_words
        ended_by = signal_of(self.device, result.status)
        if ended_by == signal.SIGKILL:
            return PhoneError(
                "runner_died",
                f"{self.device.serial}: the runner was killed on the phone (out of memory, or after {timeout_s:g} s). "
                f"{words}",
            )
        if ended_by is not None:
            return RunnerCrashedError(
                f"{self.device.serial}: the runner crashed with {signal_words(ended_by)}. {words}"
            )
        return self._not_understood(f"exit status {result.status}", words)

    def _failed(self, answer: Mapping[str, Any]) -> CandidateError | PhoneError | ToolError:
        stage, text = str(answer.get("stage"))[:_MAX_STAGE], str(answer.get("error"))[:_MAX_ERROR]
        if stage in _CANDIDATE_STAGES:
            return CandidateError("model_rejected", f"{self.device.serial}: {stage}: {text}", stage)
        if stage == "affinity":
            return PhoneError(
                "core_unavailable",
                f"{self.device.serial}: core {self.core} cannot be used ({text}); it may be switched off to save "
                "power. Wake the phone, or choose another `core` in its profile",
            )
        return ToolError("runner_protocol", f"{self.device.serial}: the runner failed in stage {stage}: {text}")

    def _not_understood(self, what: str, text: str) -> ToolError:
        return ToolError(
            "runner_protocol",
            f"{self.device.serial}: the runner did not answer as it should ({what}): {text[-500:]!r}; run "
            "`mnas phones check` on this phone",
        )


def _last_json_line(text: str) -> dict[str, Any] | None:
    """Return the last line that is a JSON object of the runner's schema.

    Returns:
        None if the last lines have none.
    """
    for line in reversed(text.splitlines()[-_MAX_LINES:]):
        if not line.lstrip().startswith("{"):
            continue
        try:
            answer = parse_json(line, source="the answer")
        except DocumentError:
            continue
        if isinstance(answer, dict) and answer.get("schema") == 1:
            return answer
    return None
