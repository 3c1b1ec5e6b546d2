"""A user's own benchmark program on the phone.

TFLite's `benchmark_model`, `onnxruntime_perf_test`, and the like.
"""

from __future__ import annotations

import hashlib
import math
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from latency.adb.device import AdbDevice
from latency.android.exit_status import signal_of, signal_words
from latency.android.installation import MARK_USED
from latency.android.profile import BenchmarkProgram
from latency.errors import CandidateError, PhoneError, ToolError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import Session
from latency.measurement.window import TimedWindow
from latency.runtime import BundleFile
from mnas.documents.user_paths import user_path

_UNIT_MS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}
_MARKED = f'{MARK_USED}shift\nexec "$@"\n'
_NOT_STARTED = (126, 127)
MAX_TIMES = 100_000
"""The most times that a program may print: the largest number of runs."""


def program_file(program: BenchmarkProgram) -> BundleFile:
    """Return the program as a file to install.

    Raises:
        ToolError: `runtime_unavailable`: it cannot be read.
    """
    path = user_path(program.program)
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ToolError(
            "runtime_unavailable",
            f"benchmark program {path}: {error.strerror}; fix `benchmark.program` in the phone's profile",
        ) from error
    return BundleFile(name=path.name, path=path, sha256=sha256, executable=True)


@dataclass(frozen=True)
class ProgramRunner:
    """The installed program of one connected phone.

    Attributes:
        device: The connected phone.
        program: How the program is called and read.
        file: The program.
        folder: Where the program is on the phone.
        core: The core to name in its command.
        threads: The number of threads to name in its command.
    """

    device: AdbDevice
    program: BenchmarkProgram
    file: BundleFile
    folder: str
    core: int
    threads: int = 1

    @property
    def engine(self) -> str:
        """The program's name."""
        return self.file.name

    @property
    def engine_version(self) -> str:
        """Hash of the program, which tells versions apart; its real version is unknown."""
        return self.file.sha256[:12]

    @property
    def runtime(self) -> str:
        """Hash of everything that decides its numbers.

        The program, and how it is called, read and fed.
        """
        parts = (self.file.sha256, self.program.command, self.program.pattern, self.program.unit, self.program.convert)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def model_file(self, model: bytes, timeout_s: float) -> bytes:
        """Return what is pushed for `model`: the model, or what `convert` makes of it.

        Raises:
            CandidateError: `model_rejected`, stage `convert`: the conversion fails.
            ToolError: `convert`: the conversion cannot be started or does not end.
        """
        if not self.program.convert:
            return model
        with tempfile.TemporaryDirectory(prefix="mnas-convert-") as folder:
            onnx, out = Path(folder, "model.onnx"), Path(folder, "model.out")
            onnx.write_bytes(model)
            command = [part.format(onnx=onnx, out=out) for part in self.program.convert]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ToolError("convert", f"`benchmark.convert` of the phone's profile: {error}") from error
            if done.returncode != 0 or not out.exists():
                raise CandidateError("model_rejected", f"conversion failed: {done.stderr.strip()[-2000:]}", "convert")
            return out.read_bytes()

    def session(
        self, model_path: str, settings: MeasurementSettings, reference_best_ms: float | None
    ) -> tuple[Session, float | None]:
        """Run the program once; the times that its pattern matches are the window's.

        Raises:
            CandidateError: `model_rejected`: the program refuses the model with an exit status.
            PhoneError: `runner_died`: it is killed or crashes.
            ToolError: `runner_protocol`: its output has no times, or it cannot be started.
        """
        names = {
            "program": str(PurePosixPath(self.folder) / self.file.name),
            "model": model_path,
            "core": str(self.core),
            "threads": str(self.threads),
            "runs": str(settings.runs),
        }
        command = [part.format(**names) for part in self.program.command]
        marked = ["sh", "-c", _MARKED, "mnas", self.folder, *command]
        result = self.device.shell(marked, timeout_s=settings.load_timeout_s + settings.window_timeout_s)
        words = result.last_words
        if (ended_by := signal_of(self.device, result.status)) is not None:
            how = signal_words(ended_by)
            raise PhoneError("runner_died", f"{self.device.serial}: {command[0]} died of {how}. {words}")
        if result.failed and result.status in _NOT_STARTED:
            raise ToolError("runner_protocol", f"{self.device.serial}: {command[0]} cannot be started: {words}")
        if result.failed:
            raise CandidateError(
                "model_rejected",
                f"{self.device.serial}: {command[0]} ended with status {result.status}: {words}",
                "run",
            )
        output = f"{result.stdout}\n{result.stderr}"
        wall_ms = _times_ms(self.program, output)
        if not wall_ms:
            raise ToolError(
                "runner_protocol",
                f"{self.device.serial}: `benchmark.pattern` matches no time in the output of {command[0]}: "
                f"{output.strip()[-500:]!r}",
            )
        return Session(None, TimedWindow(wall_ms, None, 0)), reference_best_ms


def _times_ms(program: BenchmarkProgram, output: str) -> tuple[float, ...]:
    times_ms = []
    for match in re.finditer(program.pattern, output):
        try:
            time_ms = float(match["time"]) * _UNIT_MS[program.unit]
        except ValueError:
            return ()
        if not (math.isfinite(time_ms) and time_ms > 0):
            return ()
        times_ms.append(time_ms)
        if len(times_ms) > MAX_TIMES:
            return ()
    return tuple(times_ms)
