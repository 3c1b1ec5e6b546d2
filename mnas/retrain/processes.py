"""Training on several devices: one process for each, connected by MindSpore's scheduler.

`msrun` starts the processes, on several machines too; `mnas retrain --cards` does the same on one machine. In both
cases a process learns its place from the environment variables of MindSpore's "dynamic cluster". The scheduler is one
more process with the same command; it does not train.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from mnas.files import make_folder, open_for_append
from mnas.machine.ascend import folder_variables
from mnas.machine.check import RANK_VARIABLES
from mnas.mindspore_setup import Compute, Device, mindspore_errors, prepare_mindspore

ROLE_VARIABLE, COUNT_VARIABLE = "MS_ROLE", "MS_WORKER_NUM"
EXIT_POLL_S = 0.2
# Seconds that a process waits for the others: until all have started, and in a step while the first one writes a
# checkpoint. HCCL's own are 120 and 1,836.
HCCL_TIMEOUTS = {"HCCL_CONNECT_TIMEOUT": "1800", "HCCL_EXEC_TIMEOUT": "17340"}
TERMINATION_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Process:
    """The place of this process among those of a training.

    Attributes:
        rank: Number of this process, from 0. The first one logs and writes checkpoints.
        ranks: Number of all processes.
    """

    rank: int = 0
    ranks: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process logs and writes checkpoints."""
        return self.rank == 0


def is_one_of_several() -> bool:
    """Return whether `msrun` or `--cards` has started this process as one of several."""
    return ROLE_VARIABLE in os.environ and int(os.environ.get(COUNT_VARIABLE, "1")) > 1


def join_processes(compute: Compute) -> Process:
    """Wait until all processes of the training have connected, and return the place of this one.

    Without MindSpore's environment variables it is the only process. In the scheduler's process this returns when the
    workers have ended.

    Raises:
        TrainingError: The processes cannot connect.
    """
    if not is_one_of_several():
        return Process()
    if compute.device == "Ascend":
        for name, seconds in HCCL_TIMEOUTS.items():
            os.environ.setdefault(name, seconds)
    prepare_mindspore(compute)
    from mindspore import communication

    with mindspore_errors():
        communication.init()
        return Process(communication.get_rank(), communication.get_group_size())


def run_on_cards(cards: int, arguments: Sequence[str], log_directory: Path, device: Device) -> int:
    """Run `mnas ARGUMENTS` in one process for each card of this machine, and stop all of them at the end.

    The first process writes to the output of this one; the others write to files. On Ascend each has its own cores, and
    its own folder for the logs and caches of CANN.

    Args:
        cards: Number of devices.
        arguments: The command line of each process, without `mnas`.
        log_directory: Folder of the output of the scheduler and of all processes but the first.
        device: What the cards are.

    Returns:
        The exit code of the first process that fails, 0 if none does.

    Raises:
        RunDirectoryError: The folder, or a file of output in it, is a link.
    """
    make_folder(log_directory)
    inherited = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "mnas", *arguments]
    cluster = {COUNT_VARIABLE: str(cards), "MS_SCHED_HOST": "127.0.0.1", "MS_SCHED_PORT": str(_free_port())}
    with ExitStack() as stack:

        def start(variables: Mapping[str, str], log: str | None) -> subprocess.Popen[bytes]:
            output = None if log is None else stack.enter_context(open_for_append(log_directory / log))
            # A session of its own, so that Ctrl-C reaches it through this process only.
            process = subprocess.Popen(
                command,
                env={**inherited, **cluster, **variables},
                stdout=output,
                stderr=output and subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(_stop, process)
            return process

        start({ROLE_VARIABLE: "MS_SCHED"}, "scheduler.log")
        workers = [
            start(
                {
                    **(folder_variables(log_directory / f"rank-{rank}") if device == "Ascend" else {}),
                    ROLE_VARIABLE: "MS_WORKER",
                    "MS_NODE_ID": str(rank),
                    "RANK_ID": str(rank),
                    "DEVICE_ID": str(rank),
                },
                f"rank-{rank}.log" if rank else None,
            )
            for rank in range(cards)
        ]
        if device == "Ascend":
            for rank, worker in enumerate(workers):
                with suppress(ProcessLookupError):  # it has ended
                    os.sched_setaffinity(worker.pid, cores_of(rank, cards, cores))
        while True:
            codes = [worker.poll() for worker in workers]
            if failed := [code for code in codes if code]:
                return abs(failed[0])
            if None not in codes:
                return 0
            time.sleep(EXIT_POLL_S)


def cores_of(rank: int, ranks: int, cores: Sequence[int]) -> Sequence[int]:
    """Return the cores of a process: equal shares of neighbouring ones, as `msrun --bind_core` gives; all if too few.

    >>> cores_of(1, 3, range(8))
    range(2, 4)
    """
    share = len(cores) // ranks
    return cores[rank * share : (rank + 1) * share] if share else cores


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(TERMINATION_TIMEOUT_S)
    except subprocess.TimeoutExpired:  # it waits inside MindSpore for another process
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
