"""Kill a command at random moments, start the same command each time, and check that nothing was lost or repeated.

    python -m experiments.benchmarks.kill_and_resume search --folder NEW
    python -m experiments.benchmarks.kill_and_resume finalists --folder NEW
    python -m experiments.benchmarks.kill_and_resume retrain --folder NEW
    python -m experiments.benchmarks.kill_and_resume audit --folder NEW

Every process of the command is killed with SIGKILL: driver, Ray and workers. After each kill, what had ended before
must still be there, unchanged. At the end:

search     every trial has ended once, and the controller's recorded calls replay through a fresh controller to the same
           proposals and the same final state, bit for bit
finalists  (a search whose trials have ended is asked for finalists) the trials are as before, every training has ended
           once, no seed was used twice, and the contest is over
retrain    (`mnas retrain RUN --top K`) the table is byte for byte that of a command that was not killed, and so are the
           weights
audit      every network has the accuracies that it has in an audit that was not killed
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil

from mnas.bundled_files import find_experiment
from mnas.checkpoints.checkpoint import read_checkpoint
from mnas.experiment import Experiment, FinalistSettings
from mnas.retrain.top_table import TABLE_FILE, read_table
from mnas.search.finals import contest_of
from mnas.search.replay import replay
from mnas.search.run_directory import DATABASE
from mnas.search.store import StoreError, TrialStore
from mnas.search.trial import FinalistTraining, Trial

FINALISTS = FinalistSettings(count=4, extra_trainings=12, confidence=0.99)
TOP = 3
RECIPE = """\
data: {format: digits, image_size: 16}
training: {epochs: 30, batch_size: 64, learning_rate: 0.02, norm_momentum: 0.9}
threads: 1
"""
AUDITED = ("--networks", "5", "--seeds", "2")

Ended = Mapping[str, object]


@dataclass(frozen=True)
class Subject:
    """A command that is killed.

    Attributes:
        command: The command.
        ended: Returns everything that has ended and must not change any more, by name.
        check: Checks the result of the whole command; returns what was found.
    """

    command: list[str]
    ended: Callable[[], Ended]
    check: Callable[[], str]


def main() -> int:
    """Run the check; it raises AssertionError if something was lost or repeated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(SUBJECTS))
    parser.add_argument("experiment", nargs="?", default="quickstart", help="a YAML file, or a bundled experiment")
    parser.add_argument("--folder", type=Path, required=True, help="a new folder")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--longest-s", type=float, default=30.0, help="latest time of a kill after a start, in seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the random times")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    subject = SUBJECTS[arguments.what](find_experiment(arguments.experiment), arguments.folder)
    moments = random.Random(arguments.seed)
    ended: Ended = {}
    for kill in range(1, arguments.kills + 1):
        moment_s = moments.uniform(0.5, arguments.longest_s)
        finished = run_and_kill(subject.command, moment_s)
        ended = _still_there(ended, subject.ended())
        print(f"kill {kill:>2} after {moment_s:5.1f} s{' (done)' if finished else ''}: {len(ended)} ended", flush=True)
    subprocess.run(subject.command, check=True, stdout=subprocess.DEVNULL)
    _still_there(ended, subject.ended())
    print(subject.check())
    return 0


def _still_there(before: Ended, now: Ended) -> Ended:
    for name, value in before.items():
        assert now.get(name) == value, f"{name} was {value} before the kill and is {now.get(name)}"
    return now


def mnas(*arguments: str | Path) -> list[str]:
    """Return a command of mnas."""
    return [sys.executable, "-m", "mnas", *map(str, arguments)]


def of_search(experiment: Path, folder: Path) -> Subject:
    """Return a whole search."""
    run = folder / "killed"

    def check() -> str:
        loaded = Experiment.load(experiment)
        with closing(TrialStore(run / DATABASE)) as store:
            assert [trial.state != "proposed" for trial in store.trials()] == [True] * loaded.search.trials
            replay(store, loaded.create_controller(loaded.load_space()))
            calls = len(store.controller_log())
        return f"all {loaded.search.trials} trials ended once; {calls} controller calls replay to the same state"

    return Subject(mnas("search", experiment, "--run-dir", run), lambda: ended_in(run), check)


def of_finalists(experiment: Path, folder: Path) -> Subject:
    """Return the training of the finalists of a search whose trials have ended."""
    run = folder / "killed"
    search = mnas("search", experiment, "--run-dir", run, "--set", "search.trials=12")
    subprocess.run(search, check=True, stdout=subprocess.DEVNULL)
    searched = ended_in(run)
    settings = ", ".join(f"{key}: {getattr(FINALISTS, key)}" for key in ("count", "extra_trainings", "confidence"))

    def check() -> str:
        _still_there(searched, ended_in(run))
        with closing(TrialStore(run / DATABASE)) as store:
            trainings, contest = store.finalist_trainings(), contest_of(store, FINALISTS)
        numbers = [one.id for one in trainings]
        assert numbers == list(range(1, len(numbers) + 1)), f"trainings {numbers}"
        assert len({one.seed for one in trainings}) == len(trainings), "a seed was used twice"
        assert contest.is_over, "the contest is not over"
        return f"{len(trainings)} trainings of {FINALISTS.count} finalists ended once, each with a seed of its own"

    return Subject([*search, "--set", f"search.finalists={{{settings}}}"], lambda: ended_in(run), check)


def of_retrain(experiment: Path, folder: Path) -> Subject:
    """Return the full training of the best networks of a search."""
    run, recipe, directories = folder / "run", folder / "recipe.yaml", (folder / "killed", folder / "undisturbed")
    recipe.write_text(RECIPE)
    search = mnas("search", experiment, "--run-dir", run, "--set", "search.trials=6")
    retrain = mnas("retrain", run, "--top", str(TOP), "--recipe", recipe, "--run-dir")
    for command in (search, [*retrain, str(directories[1])]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def ended() -> Ended:
        table = read_table(directories[0])
        return {} if table is None else {one.folder: one.full for one in table.networks if one.full is not None}

    def check() -> str:
        killed, undisturbed = ((directory / TABLE_FILE).read_bytes() for directory in directories)
        assert killed == undisturbed, "the tables differ"
        table = read_table(directories[1])
        assert table is not None, "there is no table"
        for network in table.networks:
            assert network.full is not None, f"{network.folder} has failed"
            one, other = (read_checkpoint(directory / network.full.checkpoint) for directory in directories)
            assert one.weights.keys() == other.weights.keys(), f"{network.folder}: other weights"
            for name, value in one.weights.items():
                assert value.tobytes() == other.weights[name].tobytes(), f"{network.folder}: {name} differs"
        return f"the tables of {len(table.networks)} networks are equal byte for byte, and their weights bit for bit"

    return Subject([*retrain, str(directories[0])], ended, check)


def of_audit(experiment: Path, folder: Path) -> Subject:
    """Return an audit."""
    killed, undisturbed = folder / "killed", folder / "undisturbed"
    audit = mnas("audit", experiment, *AUDITED, "--run-dir")
    subprocess.run([*audit, str(undisturbed)], check=True, stdout=subprocess.DEVNULL)

    def ended() -> Ended:
        return {
            f"{part.parent.name}, {name}": value
            for part in sorted(killed.glob(f"*/{DATABASE}"))
            for name, value in ended_in(part.parent).items()
        }

    def check() -> str:
        parts = sorted(part.parent.name for part in undisturbed.glob(f"*/{DATABASE}"))
        trained = 0
        for part in parts:
            found, expected = (_accuracies(directory / part) for directory in (killed, undisturbed))
            assert found == expected, f"{part}: {found} and undisturbed {expected}"
            trained += len(found)
        return (
            f"all {trained} trainings of {len(parts)} searches ended once, with the accuracies of an undisturbed audit"
        )

    return Subject([*audit, str(killed)], ended, check)


def _accuracies(run: Path) -> list[tuple[int, str, float | None]]:
    with closing(TrialStore(run / DATABASE)) as store:
        return [(trial.id, trial.fingerprint, trial.accuracy) for trial in store.trials()]


SUBJECTS: Mapping[str, Callable[[Path, Path], Subject]] = {
    "search": of_search,
    "finalists": of_finalists,
    "retrain": of_retrain,
    "audit": of_audit,
}


def ended_in(run: Path) -> Ended:
    """Return the trials and the trainings of finalists that have ended for good.

    One that has failed through no fault of its network may change: a resumed search tries it again.
    """
    try:
        store = TrialStore(run / DATABASE)
    except StoreError:  # killed before the run had begun
        return {}
    with closing(store):
        ended: dict[str, Trial | FinalistTraining] = {f"trial {one.id}": one for one in store.trials()}
        ended |= {f"training {one.id} of finalists": one for one in store.finalist_trainings()}
    return {
        name: one
        for name, one in ended.items()
        if one.state != "proposed" and (one.failure is None or one.failure.kind.is_final)
    }


def run_and_kill(command: list[str], moment_s: float) -> bool:
    """Start a command in a session of its own and kill the whole session; return whether it had ended before."""
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
            raise TimeoutError(f"processes {members} of the killed command do not end")
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


if __name__ == "__main__":
    sys.exit(main())
