"""A search against trainers and phones that only take time, on a clock of their own.

Driver, store, controller and search space are the real ones. So scheduling at full scale, plans and reports are tried
in seconds. Accuracies follow from the multiply-adds and the epochs by a formula and are good for nothing else.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from controllers import Controller
from mnas.errors import FailureKind, TrialError
from mnas.experiment import FinalistSettings
from mnas.search.driver import ChildTrainer, LatencyMeter, Search, SearchObserver, SilentObserver
from mnas.search.finals import Finals
from mnas.search.plan import SearchPlan
from mnas.search.requests import SearchControl
from mnas.search.store import TrialStore
from mnas.search.trial import TrialState
from mnas.training.rungs import Rung, RungResult
from search_space import Architecture, SearchSpace, lower, multiply_adds

START = datetime(2025, 1, 1, tzinfo=timezone.utc)
# Share of the failures that lose a worker: the child is trained again. The others diverge and blame the network.
LOST_SHARE = 0.5
RETRIES = 2


@dataclass(frozen=True)
class Workload:
    """How long things take, in seconds: samples that are drawn from, each as likely as the next.

    Attributes:
        train_s: Trainings of a child, without compiling.
        compile_s: Compilations of a child, on its worker.
        measure_s: Measurements of a network on one phone.
        startup_s: What the first child of every worker takes longer.
        failure_rate: Share of the trainings that fail. Half of them lose their worker halfway and are trained again, up
            to twice; the others diverge halfway.
        phone_failure_rate: Share of the measurements that are rejected and done again.
        overhead_s: What the command takes before the first proposal and after the last trial: it loads the images,
            starts Ray, and ends it. It is not simulated.
    """

    train_s: tuple[float, ...]
    compile_s: tuple[float, ...] = (0.0,)
    measure_s: tuple[float, ...] = (1.0,)
    startup_s: float = 0.0
    failure_rate: float = 0.0
    phone_failure_rate: float = 0.0
    overhead_s: float = 0.0

    @property
    def child_s(self) -> float:
        """Mean time of a child on its worker, failures apart."""
        return _mean(self.train_s) + _mean(self.compile_s)


def spread_around(mean: float, relative: float, count: int = 99) -> tuple[float, ...]:
    """Return the quantiles of a lognormal distribution with this mean and relative standard deviation."""
    if relative == 0 or mean == 0:
        return (mean,)
    sigma = math.sqrt(math.log(1 + relative**2))
    normal = NormalDist(math.log(mean) - sigma**2 / 2, sigma)
    values = [math.exp(normal.inv_cdf((index + 0.5) / count)) for index in range(count)]
    return tuple(value * mean / _mean(values) for value in values)


class SimulatedClock:
    """A clock that goes straight to the next thing that happens."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._ended: set[Future[Mapping[str, Any]]] = set()

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return self._now_s

    def now(self) -> datetime:
        """Return the time as a store keeps it."""
        return START + timedelta(seconds=self._now_s)

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something after a time."""
        heapq.heappush(self._events, (self._now_s + delay_s, next(self._numbers), action))

    def end(self, future: Future[Mapping[str, Any]], result: Mapping[str, Any] | Exception) -> None:
        """End a future now."""
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
        self._ended.add(future)

    def wait(self, futures: Collection[Future[Mapping[str, Any]]], timeout_s: float) -> set[Future[Mapping[str, Any]]]:
        """Go to the next end of one of the futures; without futures, `timeout_s` on."""
        if not futures:
            self._now_s += timeout_s
            return set()
        while not (ended := {future for future in self._ended if future in futures}):
            self._now_s, _, action = heapq.heappop(self._events)
            action()
        self._ended.clear()
        return ended


@dataclass
class Station:
    """Equal servers with one queue: workers or phones.

    Attributes:
        busy: Begin and end of each service, in seconds since the start.
    """

    clock: SimulatedClock
    servers: int
    startup_s: float = 0.0
    busy: list[tuple[float, float]] = field(default_factory=list)
    _free: int = field(init=False)
    _queue: deque[tuple[Future[Mapping[str, Any]], float, Mapping[str, Any] | Exception]] = field(init=False)
    _fresh: int = field(init=False)

    def __post_init__(self) -> None:
        self._free, self._fresh, self._queue = self.servers, self.servers, deque()

    def start_again(self) -> None:
        """Let the next service of every server take `startup_s` longer."""
        self._fresh = self.servers

    def submit(self, service_s: float, result: Mapping[str, Any] | Exception) -> Future[Mapping[str, Any]]:
        """Queue a service of this length, which ends in this result."""
        future: Future[Mapping[str, Any]] = Future()
        self._queue.append((future, service_s, result))
        self._serve()
        return future

    def busy_s(self, begin_s: float = 0.0, end_s: float = math.inf) -> float:
        """Return the seconds of service between two times, summed over the servers."""
        return sum(max(0.0, min(end, end_s) - max(begin, begin_s)) for begin, end in self.busy)

    def _serve(self) -> None:
        while self._free and self._queue:
            future, service_s, result = self._queue.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            self._free -= 1
            if self._fresh:
                self._fresh -= 1
                service_s += self.startup_s
            begin = self.clock.seconds()
            self.busy.append((begin, begin + service_s))

            def end(future: Future[Mapping[str, Any]] = future, result: Mapping[str, Any] | Exception = result) -> None:
                self._free += 1
                self.clock.end(future, result)
                self._serve()

            self.clock.after(service_s, end)


class SimulatedTrainer:
    """Workers that take the time of a training; see `RungTrainer`."""

    def __init__(self, station: Station, workload: Workload, network: NetworkModel, seed: int, epochs: int = 1) -> None:
        self._station = station
        self._workload = workload
        self._network = network
        self._random = np.random.default_rng((seed, 1))
        self._epochs = epochs

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        """See `ChildTrainer`."""
        return self.submit_with_rungs(architecture, seed, ())

    def submit_with_rungs(
        self, architecture: Architecture, seed: int, rungs: tuple[Rung, ...]
    ) -> Future[Mapping[str, Any]]:
        """See `RungTrainer`."""
        load, random = self._workload, self._random
        compile_s, train_s = float(random.choice(load.compile_s)), float(random.choice(load.train_s))
        child_s, lost = compile_s + train_s, 0
        while random.random() < load.failure_rate:
            if random.random() >= LOST_SHARE:
                error = TrialError(FailureKind.TRAINING_DIVERGED, "simulated: the loss became nan")
                return self._station.submit((lost + 1) * child_s / 2, error)
            lost += 1
            if lost > RETRIES:
                error = TrialError(FailureKind.WORKER_DIED, "simulated: the training worker died")
                return self._station.submit(lost * child_s / 2, error)
        accuracy = self._network.accuracy(architecture, random)
        reached: list[RungResult] = []
        for rung in rungs:
            share = rung.epoch / self._epochs
            early = self._network.early_accuracy(accuracy, share, random)
            reached.append(RungResult(rung.epoch, early, rung.least_accuracy))
            if reached[-1].is_behind:
                accuracy, train_s = early, share * train_s
                break
        phases = {"compile": compile_s, "train": train_s}
        result = {
            "accuracy": accuracy,
            "loss": -math.log(max(accuracy, 1e-3)),
            "train_loss": -0.9 * math.log(max(accuracy, 1e-3)),
            "steps": 100,
            "images_per_s": 6400 / train_s,
            "phases": {name: {"wall_s": seconds, "cpu_s": seconds} for name, seconds in phases.items()},
            "resident_mb": 800.0,
            "simulated": True,
            "rungs": [asdict(result) for result in reached],
            "stopped": bool(reached) and reached[-1].is_behind,
        }
        return self._station.submit(lost * child_s / 2 + compile_s + train_s, result)


class SimulatedPhones:
    """Phones that take the time of a measurement; see `LatencyMeter`."""

    def __init__(self, station: Station, workload: Workload, network: NetworkModel, seed: int) -> None:
        self._station = station
        self._workload = workload
        self._network = network
        self._random = np.random.default_rng((seed, 2))

    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        """See `LatencyMeter`."""
        load, random = self._workload, self._random
        measure_s = float(random.choice(load.measure_s))
        while random.random() < load.phone_failure_rate:
            measure_s += float(random.choice(load.measure_s))
        latency_ms = self._network.latency_ms(architecture, random)
        return self._station.submit(measure_s, {"latency_ms": latency_ms, "simulated": True})


class NetworkModel:
    """Accuracies and latencies by a formula: both grow with the multiply-adds, and the accuracy saturates."""

    def __init__(self, space: SearchSpace, target_ms: float) -> None:
        random = np.random.default_rng(0)
        self._size = space.image_size
        sampled = sorted(self._multiply_adds(space.decode(space.sample(random))) for _ in range(25))
        self._median = sampled[len(sampled) // 2]
        self._target_ms = target_ms

    def accuracy(self, architecture: Architecture, random: np.random.Generator) -> float:
        """Return an accuracy with the noise of a short training."""
        size = self._multiply_adds(architecture) / self._median
        return float(np.clip(0.3 + 0.4 * (1 - math.exp(-size)) + 0.01 * random.normal(), 0.0, 1.0))

    def early_accuracy(self, accuracy: float, share: float, random: np.random.Generator) -> float:
        """Return the accuracy after a share of a training whose last accuracy is known."""
        return float(np.clip(accuracy * (0.5 + 0.5 * share) + 0.01 * random.normal(), 0.0, 1.0))

    def latency_ms(self, architecture: Architecture, random: np.random.Generator) -> float:
        """Return a latency with the noise of a measurement; the median network takes the target."""
        size = self._multiply_adds(architecture) / self._median
        return float(self._target_ms * size**0.8 * math.exp(0.02 * random.normal()))

    def _multiply_adds(self, architecture: Architecture) -> float:
        return float(multiply_adds(lower(architecture, image_size=self._size, channels=3, num_classes=10)))


@dataclass(frozen=True)
class Simulated:
    """What a simulated search took.

    Attributes:
        total_s: From the start to the end of the last trial.
        finals_s: The training of the finalists after it.
        workers: The workers, with when they trained.
        phones: The phones, with when they measured.
        counts: How many trials have ended in each state.
    """

    total_s: float
    finals_s: float
    workers: Station
    phones: Station
    counts: Mapping[TrialState, int]

    def busy_share(self, station: Station, edge_s: float = 60.0) -> float:
        """Return the share of a station's time that it was busy, without the first and the last `edge_s` seconds."""
        begin_s, end_s = (edge_s, self.total_s - edge_s) if self.total_s > 4 * edge_s else (0.0, self.total_s)
        return station.busy_s(begin_s, end_s) / (station.servers * (end_s - begin_s)) if end_s > begin_s else 0.0


def simulate(
    plan: SearchPlan,
    space: SearchSpace,
    controller: Controller,
    workload: Workload,
    phones: int,
    database: Path,
    *,
    finalists: FinalistSettings | None = None,
    observer: SearchObserver | None = None,
    control: SearchControl | None = None,
    seed: int = 0,
) -> Simulated:
    """Carry out a simulated search into a new store, or go on with one.

    Args:
        plan: What the search does; `workers` of it train.
        space: The search space.
        controller: What proposes.
        workload: How long things take.
        phones: How many phones there are.
        database: The SQLite file; times in it begin with the year 2025.
        finalists: How the best networks are trained again after the trials, by fresh workers; None trains none.
        observer: Is told what happens.
        control: What is asked of the search while it runs.
        seed: Of the durations, failures and noise.
    """
    clock = SimulatedClock()
    network = NetworkModel(space, plan.target_ms)
    workers = Station(clock, plan.workers, workload.startup_s)
    epochs = 1 if plan.halving is None else plan.halving.epochs
    phone_station = Station(clock, phones)
    trainer: ChildTrainer = SimulatedTrainer(workers, workload, network, seed, epochs)
    meter: LatencyMeter = SimulatedPhones(phone_station, workload, network, seed)
    store = TrialStore(database, create=True, durable=False, now=clock.now)
    try:
        Search(
            plan,
            space,
            controller,
            store,
            trainer,
            meter,
            observer or SilentObserver(),
            control=control,
            clock=clock,
        ).run()
        counts, total_s = store.counts(), clock.seconds()
        if finalists is not None and not counts["proposed"]:
            workers.start_again()
            Finals(plan, finalists, store, trainer, meter, observer or SilentObserver(), clock=clock).run()
    finally:
        store.close()
    return Simulated(total_s, clock.seconds() - total_s, workers, phone_station, counts)


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)
