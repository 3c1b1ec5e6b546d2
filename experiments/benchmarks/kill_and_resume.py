"""Kill a search at random moments, resume it with the same command each time, and check that nothing was lost.

    python -m experiments.benchmarks.kill_and_resume experiments/quickstart.yaml --kills 10 --run-dir runs/killed

Every process of the search is killed with SIGKILL: driver, Ray and workers. After each kill, every trial that had ended
before must still be there, unchanged. At the end every trial must have ended exactly once, and the controller's
recorded calls must replay through a fresh controller to the same proposals and the same final state, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from mnas.experiment import Experiment
from mnas.search.replay import replay
from mnas.search.run_directory import DATABASE
from mnas.search.store import StoreError, Trial, TrialStore


def main() -> int:
    """Run the check; exit code 0 if no check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--run-dir", type=Path, required=True, help="a new directory")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument(
        "--longest-s", type=float, default=30.0, help="latest time of a kill after the start, in seconds"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random times")
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "mnas", "search", str(arguments.experiment), "--run-dir", str(arguments.run_dir)]
    moments = random.Random(arguments.seed)
    ended: dict[int, Trial] = {}
    for kill in range(1, arguments.kills + 1):
        moment_s = moments.uniform(0.5, arguments.longest_s)
        finished = run_and_kill(command, moment_s)
        ended = check_ended(arguments.run_dir / DATABASE, ended)
        print(f"kill {kill:>2} after {moment_s:5.1f} s{' (done)' if finished else ''}: {len(ended)} trials ended")
    last = subprocess.run(command, check=False)
    ended = check_ended(arguments.run_dir / DATABASE, ended)
    experiment = Experiment.load(arguments.experiment)
    wanted = list(range(1, experiment.search.trials + 1))
    if last.returncode != 0 or sorted(ended) != wanted:
        print(f"the last run exited {last.returncode}; trials that ended: {sorted(ended)}", file=sys.stderr)
        return 1
    store = TrialStore(arguments.run_dir / DATABASE)
    replay(store, experiment.create_controller(experiment.load_space()))
    calls = len(store.controller_log())
    print(f"all {len(ended)} trials ended once; {calls} controller calls replay to the same state, bit for bit")
    return 0


def run_and_kill(command: list[str], moment_s: float) -> bool:
    """Start the search in a session of its own and kill the whole session; return whether it had ended before."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(moment_s)
        finished = True
    except subprocess.TimeoutExpired:
        finished = False
    # The driver dies first, as under `kill -9`; the processes that it has started must not go on with the same run.
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while members := session_members(process.pid):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {members} of the killed search do not end")
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)
    return finished


def session_members(session: int) -> list[int]:
    """Return the living processes of a session."""
    members = []
    for process in psutil.process_iter(["status"]):
        try:
            if process.info["status"] != psutil.STATUS_ZOMBIE and os.getsid(process.pid) == session:
                members.append(process.pid)
        except (ProcessLookupError, PermissionError):
            continue
    return members


def check_ended(database: Path, before: dict[int, Trial]) -> dict[int, Trial]:
    """Return the trials that have ended; raise if one that had ended before is gone or changed.

    A trial that failed through no fault of its network may change: a resumed search tries it again.
    """
    try:
        store = TrialStore(database)
    except StoreError:  # killed before the run had begun
        if before:
            raise
        return before
    ended = {trial.id: trial for trial in store.trials() if trial.state != "proposed"}
    store.close()
    for number, trial in before.items():
        final = trial.failure is None or trial.failure.kind.is_final
        if final and ended.get(number) != trial:
            raise AssertionError(f"trial {number} was {trial} before the kill and is {ended.get(number)}")
    return ended


if __name__ == "__main__":
    sys.exit(main())
