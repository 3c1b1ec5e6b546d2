"""Which failure an error of a training is, and what a process has had of its machine."""

import os
import signal
import subprocess
import sys

import pytest

from mnas.errors import DataError, Error, FailureKind, OutOfMemoryError, TrainingDivergedError, TrainingError
from mnas.workers import worker
from mnas.workers.worker import failure_of, process_use


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfMemoryError("no device memory"), FailureKind.OUT_OF_MEMORY),
        (MemoryError("Unable to allocate 9.31 GiB"), FailureKind.OUT_OF_MEMORY),
        (TrainingDivergedError(3, float("nan")), FailureKind.TRAINING_DIVERGED),
        (TrainingError("MindSpore failed"), FailureKind.INTERNAL),
        (DataError("a broken image"), FailureKind.DATA),
    ],
)
def test_an_error_has_a_kind_and_keeps_its_text(error: Error | MemoryError, kind: FailureKind) -> None:
    failure = failure_of(error)
    assert failure.kind is kind
    assert str(error) in failure.message


def test_a_process_that_stands_still_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "STOPPED_LOOK_S", 0.001)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            running = process_use(process.pid)
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            stopped = process_use(process.pid)
        finally:
            process.kill()
    assert running is not None
    assert not running.stopped
    assert stopped is not None
    assert stopped.stopped
    assert process_use(process.pid) is None
