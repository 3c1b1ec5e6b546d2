"""Search on a Ray cluster whose nodes and phone host come and go, and print what each change does to the throughput.

    python -m experiments.benchmarks.cluster_nodes

The nodes are Ray nodes on this machine, each with two workers; the head has none. The search is a whole one, with
controller, store, pool of workers and latency service, but its children sleep (`StandInWorker`), and so does its phone,
on a node of its own. First, nodes with other code and without the images are refused. Then nodes join, are lost
(SIGKILL) in mid-trial, leave (SIGTERM) and come back, and so does the phone host. At the end every trial must have
ended once, and the controller's calls must replay. Ray notices a lost node as slowly as it does by default.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import ray
from PIL import Image
from ray.cluster_utils import Cluster

from experiments.benchmarks.stand_in_worker import EPOCH_S, LOG_VARIABLE, StandInWorker
from latency import LatencyRecord, LatencyService, MeasurementSettings, PhoneBackend, PhoneIdentity
from latency.measurement.record import Session, model_sha256
from latency.measurement.window import TimedWindow
from latency.pool.remote import phones_in_cluster
from mnas.data import ImageForm
from mnas.data.node_paths import VARIABLE as DATA_PATHS
from mnas.errors import ConfigurationError
from mnas.experiment import Experiment
from mnas.search.control import Request, ask
from mnas.search.driver import Progress
from mnas.search.latency import PATIENT, OnnxLatencyMeter
from mnas.search.replay import replay
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE
from mnas.search.store import TrialStore
from mnas.search.trial import Trial
from mnas.workers.nodes import PACKAGES

ROOT = Path(__file__).parents[2]
EPOCHS = 4
CHILD_S = EPOCHS * EPOCH_S
WORKERS_PER_NODE = 2
PHONE, PHONE_HOST = "sleeper", "phone host"
MEASUREMENT_S = 0.02
LONGEST_CHANGE_S = 90.0


class SleepingPhone:
    """A phone that takes its time and times nothing; the latency follows from the size of the model."""

    name = PHONE

    def identify(self) -> PhoneIdentity:
        """See `PhoneBackend`."""
        return PhoneIdentity(PHONE, "host", "0", "none", "none", "0", "none", core=0)

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """See `PhoneBackend`."""
        time.sleep(MEASUREMENT_S)
        window = TimedWindow((len(model) / 1e6,), None, 0)
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        sessions = (Session(None, window),)
        return LatencyRecord(model_sha256(model), self.identify(), settings, sessions, (), True, "asleep", now)

    def close(self) -> None:
        """See `PhoneBackend`."""


def sleeping_phones(name: str) -> list[PhoneBackend]:
    """Open the phone; runs on its host."""
    return [SleepingPhone()]


class Nodes:
    """A Ray cluster on this machine, whose nodes have names."""

    def __init__(self) -> None:
        """Start a head without a worker."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self._cluster: Any = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "env_vars": python_path()}
        )
        self._cluster.connect()
        self._nodes: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        """The names of all nodes there have been, by Ray's ids."""

    def join(self, name: str, workers: int = WORKERS_PER_NODE, **options: Any) -> None:
        """Start a node; its options are those of `ray start`."""
        env_vars = python_path() | options.pop("env_vars", {})
        node = self._cluster.add_node(num_cpus=workers, env_vars=env_vars, **options)
        self._nodes[name] = node
        self.names[node.node_id] = name

    def join_phone_host(self) -> None:
        """Start the node that has the phone."""
        self.join(PHONE_HOST, 0, resources={f"phone:{PHONE}": 1})

    def lose(self, name: str) -> None:
        """Kill all processes of a node."""
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)

    def leave(self, name: str) -> None:
        """End a node as `ray stop` does, and wait until Ray knows it."""
        node = self._nodes.pop(name)
        self._cluster.remove_node(node, allow_graceful=True)
        wait_until(lambda: not any(each["NodeID"] == node.node_id and each["Alive"] for each in ray.nodes()))

    def close(self) -> None:
        """End the cluster."""
        ray.shutdown()
        self._cluster.shutdown()


def python_path(root: Path = ROOT) -> dict[str, str]:
    """Return what lets a node import mnas from a folder."""
    return {"PYTHONPATH": str(root)}


class Timeline:
    """What has happened in the search."""

    def __init__(self) -> None:
        self.ended: list[tuple[float, int]] = []
        self.workers = 0

    def trial_finished(self, trial: Trial) -> None:
        """See `SearchObserver`."""
        self.ended.append((time.monotonic(), trial.id))

    def progress(self, progress: Progress) -> None:
        """See `SearchObserver`."""
        self.workers = progress.workers

    def idle_s(self) -> float:
        """Return for how long no trial has ended."""
        return time.monotonic() - self.ended[-1][0] if self.ended else 0.0

    def count_since(self, since_s: float) -> int:
        """Return how many trials have ended since then."""
        return sum(at_s >= since_s for at_s, _ in self.ended)


@dataclass(frozen=True)
class Step:
    """A change of the cluster.

    Attributes:
        name: What happens.
        change: Makes it happen.
        workers: How many there are afterwards.
        has_settled: Returns whether the search has noticed, if the number of workers does not tell it.
    """

    name: str
    change: Callable[[], None]
    workers: int
    has_settled: Callable[[], bool] = field(default=lambda: True)


def carry_out(steps: Sequence[Step], timeline: Timeline, search: Future[Run], steady_s: float) -> None:
    """Make one change after another; after each, wait until it shows, and count the trials for a while."""
    print(f"{'':32} workers  noticed after  trials/min  of workers x {60 / CHILD_S:g}")
    for step in steps:
        began_s = time.monotonic()
        step.change()
        changed_s = time.monotonic()
        wait_until(partial(has_noticed, step, timeline, search))
        noticed_s = time.monotonic()
        time.sleep(2 * CHILD_S)
        counted_s = time.monotonic()
        time.sleep(steady_s)
        per_minute = 60 * timeline.count_since(counted_s) / (time.monotonic() - counted_s)
        share = per_minute * CHILD_S / 60 / step.workers
        print(
            f"{step.name:32} {timeline.workers:7} {noticed_s - changed_s:11.1f} s {per_minute:11.1f} {share:8.1%}"
            f"   (the change itself took {changed_s - began_s:.1f} s)",
            flush=True,
        )


def has_noticed(step: Step, timeline: Timeline, search: Future[Run]) -> bool:
    """Return whether the search works with what a change has left; raise its error if it has ended."""
    if search.done():
        search.result()
    return timeline.workers == step.workers and step.has_settled()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait; give up after `LONGEST_CHANGE_S`."""
    deadline_s = time.monotonic() + LONGEST_CHANGE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"a change was not noticed within {LONGEST_CHANGE_S:g} s")
        time.sleep(0.05)


def write_images(folder: Path) -> None:
    """Write class folders of small random pictures."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / "train" / name).mkdir(parents=True)
        for number in range(60):
            picture = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(picture).save(folder / "train" / name / f"{number}.png")


def experiment(images: Path) -> Experiment:
    """Return a search on the running cluster that would go on for long."""
    return Experiment.from_dict(
        {
            "space": "tiny16",
            "data": {
                "format": "image_folder",
                "directory": str(images),
                "image_size": 16,
                "reward_images": 40,
                "storage": "stream",
            },
            "training": {"epochs": EPOCHS, "batch_size": 64, "learning_rate": 0.01},
            "controller": {"name": "random"},
            "search": {"trials": 100_000, "workers": "auto", "ray_address": "auto"},
            "latency": {"phone": PHONE, "target_ms": 0.1},
            "device": "CPU",
        }
    )


@contextmanager
def open_meter(search: Experiment) -> Iterator[OnnxLatencyMeter]:
    """Open the latency service of the phone in the cluster."""
    with ExitStack() as stack:
        phones = phones_in_cluster(PHONE, sleeping_phones)
        for phone in phones:
            stack.callback(phone.close)
        service = stack.enter_context(LatencyService(phones, retry=PATIENT))
        meter = OnnxLatencyMeter({PHONE: service}, PHONE, ImageForm.of(search.data.load_search().train))
        stack.callback(meter.close)
        yield meter


def show_refusal(nodes: Nodes, search: Experiment, what: str, env_vars: Mapping[str, str], folder: Path) -> None:
    """Let a node join that is not fit, and print why the search does not begin."""
    nodes.join("unfit", env_vars=dict(env_vars))
    try:
        with open_meter(search) as meter:
            search.run(folder / what, latency=meter)
    except ConfigurationError as error:
        print(f"a node {what}: {error}\n")
    else:
        raise AssertionError(f"a node {what} was not refused")
    finally:
        nodes.leave("unfit")


def check_ends(run: Run, timeline: Timeline, nodes: Nodes, log: Path) -> list[str]:
    """Print how the trials ended; return what is wrong."""
    trials = run.trials
    ends = Counter(trial.state if trial.failure is None else trial.failure.kind.value for trial in trials)
    told = Counter(number for _, number in timeline.ended)
    begun = Counter(line.split()[0] for line in log.read_text().splitlines())
    where = Counter(nodes.names[line.split()[1]] for line in log.read_text().splitlines())
    print(f"\n{len(trials)} trials: " + ", ".join(f"{count} {end}" for end, count in sorted(ends.items())))
    print(f"trainings: {begun.total()}, of which {begun.total() - len(begun)} are further tries of a child")
    print("trainings by node: " + ", ".join(f"{name} {count}" for name, count in sorted(where.items())))
    store = TrialStore(run.directory / DATABASE)
    replay(store, run.experiment.create_controller(run.experiment.load_space()))
    wrong = [f"{name} trained" for name in ("unfit",) if name in where]
    wrong += [f"trial {trial.id} is {trial.state}" for trial in trials if trial.state != "complete"]
    wrong += [f"trial {number} ended {count} times" for number, count in told.items() if count != 1]
    if sorted(told) != [trial.id for trial in trials] or sorted(told) != list(range(1, len(trials) + 1)):
        wrong.append("the trials that ended are not those of the store")
    return wrong


def main() -> int:
    """Run the search; exit code 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="trials are counted for so long (default: 6)")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mnas-nodes-")))
        # Ray lets workers import from the working folder of the search: not from the checkout, for the unfit node.
        os.chdir(folder)
        stack.callback(os.chdir, "/")
        images, elsewhere, log = folder / "images", folder / "elsewhere", folder / "log"
        write_images(images)
        shutil.copytree(images, elsewhere)
        other_code = folder / "code"
        for package in PACKAGES:
            shutil.copytree(ROOT / package, other_code / package, ignore=shutil.ignore_patterns("__pycache__"))
        with open(other_code / "mnas" / "ranks.py", "a") as file:
            file.write("# changed\n")
        os.environ[LOG_VARIABLE] = str(log)
        stack.enter_context(mock.patch("mnas.workers.slot.ChildWorker", StandInWorker))
        nodes = Nodes()
        stack.callback(nodes.close)
        nodes.join_phone_host()
        search = experiment(images)
        show_refusal(nodes, search, "with other code", python_path(other_code), folder)
        show_refusal(nodes, search, "without the images", {DATA_PATHS: f"{images}={folder / 'nowhere'}"}, folder)

        timeline = Timeline()
        steps = [
            Step("one node", lambda: None, 2),
            Step("a second joins", lambda: nodes.join("B", env_vars={DATA_PATHS: f"{images}={elsewhere}"}), 4),
            Step("a third joins", lambda: nodes.join("C"), 6),
            Step("one with other code joins", lambda: nodes.join("unfit", env_vars=python_path(other_code)), 6),
            Step("the first is lost", lambda: nodes.lose("A"), 4),
            Step(
                "the phone host is lost",
                lambda: nodes.lose(PHONE_HOST),
                4,
                lambda: timeline.idle_s() > 4 * CHILD_S,
            ),
            Step("it comes back", nodes.join_phone_host, 4, lambda: timeline.idle_s() < CHILD_S),
            Step("the first comes back", lambda: nodes.join("A"), 6),
            Step("the second leaves", lambda: nodes.leave("B"), 4),
        ]
        nodes.join("A")
        run_directory = folder / "run"
        with open_meter(search) as meter, ThreadPoolExecutor(1) as thread:  # Ray starts nodes in the main thread only
            running = thread.submit(search.run, run_directory, latency=meter, observer=timeline)
            try:
                carry_out(steps, timeline, running, arguments.seconds)
            finally:
                ask(run_directory, Request(do="drain"))
            run = running.result()
        wrong = check_ends(run, timeline, nodes, log)
    print("\n".join(wrong) if wrong else "every trial ended once; the controller's calls replay")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
