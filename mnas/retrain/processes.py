"""Training on several devices: one process for each, started by MindSpore's `msrun` or by `mnas retrain --cards`.

Each process learns its place from MindSpore's environment variables. One more, the scheduler, only brings the others
together; it ends when they do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mnas.mindspore_setup import Device, mindspore_errors, prepare_mindspore

ROLE, WORKERS = "MS_ROLE", "MS_WORKER_NUM"


@dataclass(frozen=True)
class Process:
    """The place of this process: `rank` of `ranks`; the first one validates, logs and writes checkpoints."""

    rank: int = 0
    ranks: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0


def join_processes(device: Device, threads: int | None = None) -> Process:
    """Return the place of this process, after all have found each other; alone where nothing says otherwise.

    In the scheduler it does not return before the workers have ended. Raises TrainingError where they do not meet.
    """
    if ROLE not in os.environ or int(os.environ.get(WORKERS, "1")) == 1:
        return Process()
    prepare_mindspore(device, threads)
    from mindspore import communication

    with mindspore_errors():
        communication.init()
        return Process(communication.get_rank(), communication.get_group_size())


def run_on_cards(cards: int, arguments: Sequence[str], log_directory: Path, port: int) -> int:
    """Run `mnas ARGUMENTS` in one process for each card of this machine, and return the exit code.

    The output of the first is shown; those of all are files in `log_directory`.
    """
    # msrun starts `python` as it finds it; it must be this one.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    command = [
        *(sys.executable, "-m", "mindspore.parallel.cluster.run"),
        *("--worker_num", str(cards), "--local_worker_num", str(cards), "--master_port", str(port)),
        *("--join", "True", "--log_dir", str(log_directory), "--tail_worker_log", "0"),
        *("python", "-m", "mnas", *arguments),
    ]
    return subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode
