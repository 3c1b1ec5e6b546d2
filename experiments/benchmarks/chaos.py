"""Disturb a search at random moments in every way that we know of, and check that nothing is lost.

    python -m experiments.benchmarks.chaos runs/chaos --phase undisturbed
    python -m experiments.benchmarks.chaos runs/chaos --phase chaos
    python -m experiments.benchmarks.chaos runs/chaos-cluster --cluster --trials 600 --phase undisturbed
    python -m experiments.benchmarks.chaos runs/chaos-cluster --cluster --trials 600 --phase chaos

A search of tiny children on real Ray, their latencies from a real adbd on this machine, runs undisturbed, then with
faults (`chaos_faults`), each after a random number of trials. If a fault ends the driver, the same command is run
again. With `--cluster` the search joins a Ray of two nodes that has the phone behind a `PhoneHost`; otherwise it starts
its own Ray. Both phases keep everything in the folder; the second prints a table and writes `report.json`. A search on
a cluster notices after a minute that the GCS is gone, and a short one ends before; `--cluster` has been run with 120
trials up to that fault, not to its end.

It is checked that every trial ended once, complete or failed with its kind; that none changed after its end; that the
controller's calls replay bit for bit; that no process was left stopped, or outlived its driver; that nothing but a
fault ended the driver; and that the search took at most 1.5 times the undisturbed time plus the down times. A down time
is the longest time without a trial that ends between a fault and the next one, as far as it is longer than the longest
of the undisturbed search. The limits on latencies are wide: how good latencies are is measured elsewhere.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from experiments.benchmarks.chaos_faults import (
    IN_A_CLUSTER,
    ON_ITS_OWN,
    PHONE,
    ChaosError,
    Fault,
    Scene,
    SearchCommand,
    TwoNodes,
    await_end,
    small_disk,
)
from latency.android.profile import write_profile
from latency.loopback.adbd import Adbd
from latency.loopback.debian import unpack_adbd
from latency.loopback.phone import phone_profile
from mnas.documents.yaml_file import dump
from mnas.search.doctor import examine
from mnas.search.run_directory import DATABASE
from mnas.search.store import StoreError, Trial, TrialStore

FACTOR = 1.5
# A search that does not go on, and processes that do not end, are reported after these times.
TRIAL_PATIENCE_S, LAST_PATIENCE_S = 240.0, 400.0
# Ray's agents, whose raylet was killed, try for 60 s to tell the GCS, which is gone, too.
ORPHAN_PATIENCE_S = 90.0
LOOK_EVERY_S, POLL_S = 2.0, 0.25
# The latencies of the last trials are measured while earlier ones train: no fault of the phone would hit them.
UNDISTURBED_END = 12
LONGEST_DELAY_S = 1.0
DISK_MB = 48
SPACE = Path(__file__).with_name("chaos_space.yaml")
# Every window is accepted, however busy the machine is.
TOLERANT: Mapping[str, float] = {
    "warmup_min_ms": 20,
    "runs": 10,
    "contention_limit": 10.0,
    "relative_mad_limit": 1.0,
    "switches_per_s_limit": 1e6,
    "others_busy_limit": 1e3,
    "drift_limit": 1e3,
    "faster_limit": 1.0,
}


@dataclass(frozen=True)
class Planned:
    """A fault to come: its name, the trials that have ended before it, and a delay after that."""

    fault: str
    after_trials: int
    delay_s: float


@dataclass(frozen=True)
class Seen:
    """What a fault hit, and what came of it.

    Attributes:
        fault: Its name.
        after_trials: Trials that had ended when it hit.
        at_s: When it hit, after the start of the search.
        hit: What it hit.
        exit_code: That of the driver, if it ended of it; negative if a signal ended it.
        said: What the search printed about it.
        down_s: The down time that followed.
    """

    fault: str
    after_trials: int
    at_s: float
    hit: str
    exit_code: int | None = None
    said: Sequence[str] = ()
    down_s: float = 0.0


@dataclass
class Phase:
    """One search from start to end, disturbed or not.

    Attributes:
        seconds: How long it took.
        finished_s: When each trial ended, after the start, in that order.
        trials: How many trials ended in each state; failed ones by their kind.
        seen: The faults.
        left_s: For how long processes outlived their driver, at most, by name and state.
        problems: What must not be, in words.
    """

    seconds: float = 0.0
    finished_s: list[float] = field(default_factory=list)
    trials: dict[str, int] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    left_s: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def experiment(trials: int, *, cluster: bool = False) -> dict[str, Any]:
    """Return the experiment: children of one epoch on 128 digits, timed on the phone."""
    return {
        "space": str(SPACE),
        "data": {"format": "digits", "image_size": 16, "reward_images": 100, "train_images": 128},
        "training": {"epochs": 1, "learning_rate": 0.01, "norm_momentum": 0.8},
        "search": {
            "trials": trials,
            "workers": "auto" if cluster else 2,
            "child_timeout_s": 60,
            "keep_weights": 3,
            **({"ray_address": "auto"} if cluster else {}),
        },
        "latency": {"phone": PHONE, "target_ms": 0.1, "measurement": dict(TOLERANT)},
    }


def plan(names: Sequence[str], rounds: int, trials: int, chance: random.Random) -> list[Planned]:
    """Return every fault so many times, in random order, after random numbers of trials."""
    faults = [name for _ in range(rounds) for name in names]
    chance.shuffle(faults)
    moments = sorted(chance.sample(range(1, trials - UNDISTURBED_END + 1), len(faults)))
    return [
        Planned(fault, moment, chance.uniform(0, LONGEST_DELAY_S))
        for fault, moment in zip(faults, moments, strict=True)
    ]


class Chaos:
    """One phase while it runs."""

    def __init__(self, scene: Scene, run: Path, faults: Mapping[str, Fault], chance: random.Random) -> None:
        """Prepare the phase; `run` is the run directory."""
        self._scene, self._run, self._faults, self._chance = scene, run, faults, chance
        self._ended: dict[int, Trial] = {}
        self._started = self._looked_s = 0.0
        self.phase = Phase()

    def carry_out(self, planned: Sequence[Planned], trials: int) -> Phase:
        """Run the search to its end, with the faults, and check what is left of it."""
        self._started = time.time()
        self._scene.start()
        try:
            for each in planned:
                self._await_trials(each.after_trials)
                time.sleep(each.delay_s)
                self._disturb(each, trials)
            self._await(lambda: self._scene.command.process.poll() is not None, LAST_PATIENCE_S, "the end")
            self.phase.seconds = time.time() - self._started
            if (code := self._scene.command.process.returncode) != 0:
                raise ChaosError(f"the last command exited {code}")
        except (ChaosError, StoreError) as error:
            self.phase.problems.append(str(error))
        self._check_processes()
        self._check_trials(trials)
        return self.phase

    def _disturb(self, planned: Planned, trials: int) -> None:
        command = self._scene.command
        fault, printed = self._faults[planned.fault], command.log_size()
        before = self._ended_now()
        at, hit = fault.strike(self._scene, self._chance)
        code = None
        if fault.ends:
            code = await_end(command)
            self._scene.start()
        # All may have ended while the fault lasted.
        self._await_trials(min(self._ended_now() + 1, trials))
        self.phase.seen.append(Seen(planned.fault, before, at - self._started, hit, code, command.said(since=printed)))

    def _await_trials(self, count: int) -> None:
        def reached() -> bool:
            if len(trials_ended(self._run)) >= count:
                return True
            if (code := self._scene.command.process.poll()) is not None:
                raise ChaosError(f"no fault had ended the driver, which exited {code}: {self._last_words()}")
            return False

        self._await(reached, TRIAL_PATIENCE_S, f"{count} trials")

    def _await(self, condition: Callable[[], bool], patience_s: float, what: str) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline:
                raise ChaosError(f"{what} did not come within {patience_s:g} s: {self._last_words()}")
            if time.monotonic() - self._looked_s > LOOK_EVERY_S:
                self._look_around()
            time.sleep(POLL_S)

    def _last_words(self) -> str:
        return " | ".join(self._scene.command.said(since=0)[-3:])

    def _ended_now(self) -> int:
        """Check that no trial has changed after its end, and return how many have ended.

        One that failed through no fault of its network may change: a search that goes on tries it again.
        """
        now = trials_ended(self._run)
        for number, trial in self._ended.items():
            if (trial.failure is None or trial.failure.kind.is_final) and now.get(number) != trial:
                raise ChaosError(f"trial {number} had ended as {trial}, and is {now.get(number)}")
        self._ended = now
        return len(now)

    def _look_around(self) -> bool:
        """Note which processes have outlived their driver, and for how long; return whether there are any."""
        self._looked_s = time.monotonic()
        left = self._scene.command.left_behind()
        for process, seconds in left.items():
            with suppress(psutil.NoSuchProcess):
                text = f"{process.name()} ({process.status()})"
                self.phase.left_s[text] = max(seconds, self.phase.left_s.get(text, 0.0))
        return bool(left)

    def _check_processes(self) -> None:
        deadline = time.monotonic() + ORPHAN_PATIENCE_S
        while (self._look_around() or self._scene.still_working()) and time.monotonic() < deadline:
            time.sleep(0.2)
        if working := self._scene.still_working():
            self.phase.problems.append(f"still at work after the search: {[each.name() for each in working]}")
        if late := [text for text, seconds in self.phase.left_s.items() if seconds > ORPHAN_PATIENCE_S]:
            self.phase.problems.append(f"outlived their driver by more than {ORPHAN_PATIENCE_S:g} s: {', '.join(late)}")

    def _check_trials(self, wanted: int) -> None:
        try:
            self._ended_now()
        except (ChaosError, StoreError) as error:
            self.phase.problems.append(str(error))
            return
        if sorted(self._ended) != list(range(1, wanted + 1)):
            self.phase.problems.append(f"of {wanted} trials these have ended: {sorted(self._ended)}")
        self.phase.trials = dict(
            Counter(trial.failure.kind.value if trial.failure else trial.state for trial in self._ended.values())
        )
        finished = (datetime.fromisoformat(each.finished_at) for each in self._ended.values() if each.finished_at)
        self.phase.finished_s = sorted(each.timestamp() - self._started for each in finished)
        with closing(TrialStore(self._run / DATABASE)) as store:
            asked = Counter(each for call in store.controller_log() if call.rewards is None for each in call.trial_ids)
            told = Counter(
                each for call in store.controller_log() if call.rewards is not None for each in call.trial_ids
            )
        if twice := [number for number, count in (asked + told).items() if max(asked[number], told[number]) > 1]:
            self.phase.problems.append(f"proposed or told twice: trials {twice}")
        # The pages of the database, every row, and a replay of the controller's calls, bit for bit.
        self.phase.problems += [finding.what for finding in examine(self._run, replayed=True)]


def trials_ended(run: Path) -> dict[int, Trial]:
    """Return the trials that have ended; none while the run has not begun."""
    try:
        store = TrialStore(run / DATABASE)
    except StoreError:
        return {}
    with closing(store):
        return {trial.id: trial for trial in store.trials() if trial.state != "proposed"}


def down_times(seen: Sequence[Seen], finished_s: Sequence[float], usual_s: float) -> list[float]:
    """Return the down time after each fault; see the module.

    Args:
        seen: The faults, in order.
        finished_s: When each trial ended, in order.
        usual_s: The longest time without a trial that ends when nothing disturbs the search.
    """
    down_s = []
    for one, following in itertools.zip_longest(seen, seen[1:]):
        until_s = finished_s[-1] if following is None else following.at_s
        points = [one.at_s, *(each for each in finished_s if one.at_s < each < until_s), until_s]
        down_s.append(max(0.0, longest_gap(points) - usual_s))
    return down_s


def longest_gap(points: Sequence[float]) -> float:
    """Return the longest distance between neighbours."""
    return max((later - earlier for earlier, later in itertools.pairwise(points)), default=0.0)


def environment_in(folder: Path) -> dict[str, str]:
    """Return the environment that keeps what is the user's own out of the search, and the other way round."""
    return {"MNAS_PHONES": str(folder / "phones"), "MNAS_LATENCY_CACHE": "off", "XDG_STATE_HOME": str(folder / "state")}


@contextmanager
def scene_in(folder: Path, run: Path, document: Mapping[str, Any], adbd: Adbd, *, cluster: bool) -> Iterator[Scene]:
    """Prepare a search in a folder, and start the cluster if it has one; `environment_in` holds in this process.

    Args:
        folder: Everything but the run is kept there.
        run: The run directory.
        document: The experiment.
        adbd: Plays the phone.
        cluster: Whether the search joins a cluster.
    """
    path = folder / "experiment.yaml"
    path.write_text(dump(document))
    write_profile(phone_profile(adbd, name=PHONE)[0])
    with ExitStack() as stack:
        nodes = None
        environment = {}
        if cluster:
            nodes = TwoNodes()
            stack.callback(nodes.stop)
            # The host of the search has no such phone.
            environment = {"MNAS_PHONES": str(folder / "no-phones")}
        command = SearchCommand(path, run, folder / "search.log", environment)
        stack.callback(command.end)
        yield Scene(command, adbd, cluster=nodes)


def run_phase(folder: Path, arguments: argparse.Namespace, faults: Mapping[str, Fault]) -> dict[str, Any]:
    """Carry out one phase in a new folder; the faults are left out of the undisturbed one."""
    folder.mkdir(parents=True)
    left_out: dict[str, str] = {}
    document = experiment(arguments.trials, cluster=arguments.cluster)
    with ExitStack() as stack:
        os.environ |= environment_in(folder)
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        if arguments.cluster:  # so that no other search of this user takes it for its own
            os.environ["RAY_TMPDIR"] = str(temporary)
        unpack_adbd(temporary)
        try:
            disk = stack.enter_context(small_disk(folder / "disk", DISK_MB))
        except PermissionError as error:
            disk = None
            left_out["disk filled"] = f"no small file system can be mounted: {error}"
        run = (disk or folder) / "run"
        adbd = stack.enter_context(Adbd(temporary, folder / "phone"))
        scene = stack.enter_context(scene_in(folder, run, document, adbd, cluster=arguments.cluster))
        scene.disk = disk
        chance = random.Random(arguments.seed)
        names = [name for name in arguments.fault or faults if name not in left_out]
        planned = plan(names, arguments.rounds, arguments.trials, chance) if arguments.phase == "chaos" else []
        phase = Chaos(scene, run, faults, chance).carry_out(planned, arguments.trials)
        if disk is not None:
            shutil.copytree(run, folder / "run")
    report = {"experiment": document, "seed": arguments.seed, "left_out": left_out, **asdict(phase)}
    (folder / "phase.json").write_text(json.dumps(report, indent=2))
    return report


def compare(undisturbed: Mapping[str, Any], chaos: dict[str, Any]) -> dict[str, Any]:
    """Return the report of both phases, with down times and whether the time was within its bound."""
    usual_s = longest_gap(undisturbed["finished_s"])
    seen = [Seen(**each) for each in chaos["seen"]]
    down_s = down_times(seen, chaos["finished_s"], usual_s)
    for each, its_s in zip(chaos["seen"], down_s, strict=True):
        each["down_s"] = its_s
    bound_s = FACTOR * undisturbed["seconds"] + sum(down_s)
    problems = [f"undisturbed: {problem}" for problem in undisturbed["problems"]] + chaos["problems"]
    if undisturbed["experiment"] != chaos["experiment"]:
        problems.append("the phases had different experiments")
    if chaos["seconds"] > bound_s:
        problems.append(f"it took {chaos['seconds']:.0f} s, more than {bound_s:.0f} s")
    return {**chaos, "undisturbed_s": undisturbed["seconds"], "bound_s": bound_s, "problems": problems}


def show(report: Mapping[str, Any]) -> None:
    """Print the table and what follows from it."""
    print(f"{'fault':28} {'after':>6} {'at':>7} {'down':>7}  what was seen")
    for each in report["seen"]:
        seen = [each["hit"]]
        if each["exit_code"] is not None:
            seen.append(f"exit {each['exit_code']}, same command again")
        print(
            f"{each['fault']:28} {each['after_trials']:>6} {each['at_s']:>5.0f} s {each['down_s']:>5.1f} s  "
            + "; ".join([*seen, *each["said"]])
        )
    for fault, reason in report["left_out"].items():
        print(f"{fault:28} left out: {reason}")
    down_s = sum(each["down_s"] for each in report["seen"])
    trials = ", ".join(f"{count} {state}" for state, count in sorted(report["trials"].items()))
    print(f"{len(report['seen'])} faults; trials: {trials}")
    for text, seconds in report["left_s"].items():
        print(f"outlived its driver by up to {seconds:.0f} s: {text}")
    print(
        f"{report['seconds']:.0f} s, undisturbed {report['undisturbed_s']:.0f} s; "
        f"bound {FACTOR} x {report['undisturbed_s']:.0f} + {down_s:.0f} down = {report['bound_s']:.0f} s"
    )


def main() -> int:
    """Carry out a phase; exit code 0 if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--phase", choices=("undisturbed", "chaos"), required=True, help="undisturbed comes first")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2, help="how often each fault comes")
    parser.add_argument("--fault", action="append", help="only this fault; again for more")
    parser.add_argument("--seed", type=int, default=0, help="of faults and moments")
    parser.add_argument("--cluster", action="store_true", help="join a Ray of two nodes")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    report = run_phase(folder / arguments.phase, arguments, IN_A_CLUSTER if arguments.cluster else ON_ITS_OWN)
    if arguments.phase == "chaos":
        report = compare(json.loads((folder / "undisturbed" / "phase.json").read_text()), report)
        (folder / "report.json").write_text(json.dumps(report, indent=2))
        show(report)
    else:
        print(f"{report['seconds']:.0f} s; trials: {report['trials']}")
    for problem in report["problems"]:
        print(f"PROBLEM: {problem}")
    if not report["problems"]:
        print("every trial ended once, none changed after its end, all calls of the controller replay bit for bit")
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
