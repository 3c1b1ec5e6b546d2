"""Training on several devices: one process for each, which MindSpore's scheduler brings together.

`msrun` starts the processes, on several machines too; `mnas retrain --cards` does the same on one machine. Either way a
process learns its place from the environment variables of MindSpore's "dynamic cluster". The scheduler is one more
process with the same command, that does not train.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mnas.mindspore_setup import Compute, mindspore_errors, prepare_mindspore

ROLE, WORKERS = "MS_ROLE", "MS_WORKER_NUM"
_POLL_S = 0.2
_GRACE_S = 10.0


@dataclass(frozen=True)
class Process:
    """The place of this process: `rank` of `ranks`; the first one validates, logs and writes checkpoints."""

    rank: int = 0
    ranks: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0


def join_processes(compute: Compute) -> Process:
    """Return the place of this process once all have met; alone where the environment says nothing of others.

    The scheduler stays in here until the workers have ended. Raises TrainingError where they do not meet.
    """
    if ROLE not in os.environ or int(os.environ.get(WORKERS, "1")) == 1:
        return Process()
    prepare_mindspore(compute)
    from mindspore import communication

    with mindspore_errors():
        communication.init()
        return Process(communication.get_rank(), communication.get_group_size())


def run_on_cards(cards: int, arguments: Sequence[str], log_directory: Path) -> int:
    """Run `mnas ARGUMENTS` in one process for each card of this machine; return the exit code of the first to fail.

    The first process has this one's output; those of the others are files in `log_directory`. None is left running.
    """
    log_directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mnas", *arguments]
    cluster = {WORKERS: str(cards), "MS_SCHED_HOST": "127.0.0.1", "MS_SCHED_PORT": str(_free_port())}
    with ExitStack() as stack:

        def start(variables: Mapping[str, str], log: str | None) -> subprocess.Popen[bytes]:
            output = None if log is None else stack.enter_context((log_directory / log).open("wb"))
            # In a session of their own, so that Ctrl-C reaches them through this process only.
            process = subprocess.Popen(
                command,
                env={**os.environ, **cluster, **variables},
                stdout=output,
                stderr=output and subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(_stop, process)
            return process

        start({ROLE: "MS_SCHED"}, "scheduler.log")
        workers = [
            start(
                {ROLE: "MS_WORKER", "MS_NODE_ID": str(rank), "RANK_ID": str(rank), "DEVICE_ID": str(rank)},
                f"rank-{rank}.log" if rank else None,
            )
            for rank in range(cards)
        ]
        while True:
            codes = [worker.poll() for worker in workers]
            if failed := [code for code in codes if code]:
                return abs(failed[0])
            if None not in codes:
                return 0
            time.sleep(_POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:  # it waits for another process inside MindSpore
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
