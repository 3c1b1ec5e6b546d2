"""What a search will take: the hours, what limits it, and what more workers or phones would change."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from controllers import Controller, create_controller
from latency import PhoneUnknownError, create_phones
from mnas.errors import ConfigurationError, InputError
from mnas.experiment import Experiment, FinalistSettings
from mnas.mindspore_setup import Device
from mnas.search.halving import epochs_trained
from mnas.search.plan import SearchPlan, search_plan
from mnas.search.run import Run
from mnas.search.run_directory import read_store
from mnas.search.simulation import Simulated, Workload, simulate, spread_around
from mnas.search.trial import Trial
from search_space import SearchSpace, cost, lower

# Floating-point operations a second of a training, and the time to compile a child in seconds. CPU: one core, measured
# (experiments/benchmarks/results/child_cost.json). Ascend: assumed, nothing has run there; a new graph takes up to
# 144 s.
TRAINING_SPEED: Mapping[Device, float] = {"CPU": 1.5e10, "Ascend": 5e12}
COMPILE_S: Mapping[Device, float] = {"CPU": 2.5, "Ascend": 100.0}
SPREAD = 0.25
# Of a quickstart on two cores: images are loaded, Ray starts and ends; what the first children wait for MindSpore.
OVERHEAD_S, STARTUP_S = 5.0, 4.0
# Python starts, mnas is loaded, and the result is printed; a run does not know of it.
COMMAND_S = 1.0
# Above this share of their time, phones delay the workers: measurements come in bursts.
PHONE_LOAD = 0.85
# Alternatives are simulated with so many trials for each worker: fewer trials change no rate.
_WHAT_IF_ROUNDS = 20
_DRIVER_TRIALS = 200
_SESSION_S = 0.6


@dataclass(frozen=True)
class Alternative:
    """The same search with other numbers of workers or phones."""

    workers: int
    phones: int
    hours: float


@dataclass(frozen=True)
class Forecast:
    """What a search will take.

    Attributes:
        trials: Trials in all.
        workers: Children that train at a time.
        phones: Phones that measure.
        hours: From the start of the command to its end.
        overhead_s: The part of it before the first proposal and after the last trial, finalists apart; seconds.
        finals_s: The part of it for the finalists, for whom the workers start once more; seconds.
        device_hours: Hours of training, summed over the workers.
        phone_hours: Hours of measuring, summed over the phones.
        workers_busy: Share of the time that the workers train, without the first and the last minute.
        phones_busy: The same of the phones.
        child_s: Mean time of a child, compilation included, of those that are stopped early, too; seconds.
        measure_s: Mean time of a measurement; seconds.
        driver_ms: CPU time of the driver and its controller for a trial, on this machine; milliseconds.
        bottleneck: What limits the search: `workers`, `phones`, `schedule` or `driver`.
        phones_enough: How many phones keep the workers busy.
        alternatives: What other numbers of workers or phones would change.
        stopped_share: Share of the trials whose training is stopped early or not begun. Accuracies are simulated by a
            formula, so this is rough.
        source: Where the times come from.
    """

    trials: int
    workers: int
    phones: int
    hours: float
    overhead_s: float
    finals_s: float
    device_hours: float
    phone_hours: float
    workers_busy: float
    phones_busy: float
    child_s: float
    measure_s: float
    driver_ms: float
    bottleneck: str
    phones_enough: int
    alternatives: tuple[Alternative, ...]
    stopped_share: float
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class GivenTimes:
    """Mean times that are known, in seconds; None for what is not.

    Attributes:
        child_s: A child on its worker, compilation included.
        compile_s: Its compilation.
        measure_s: A measurement of one network.
    """

    child_s: float | None = None
    compile_s: float | None = None
    measure_s: float | None = None


def forecast(experiment: Experiment, workers: int, phones: int, load: Workload, source: str) -> Forecast:
    """Simulate a search, and what other numbers of workers and phones would change."""
    plan, space = search_plan(experiment, workers), experiment.load_space()
    found = _simulated(plan, space, load, phones, finalists=experiment.search.finalists)
    driver_ms = _driver_ms(experiment, plan, space, load, phones)
    child_s = load.child_s
    if found.counts["stopped"]:
        child_s = found.workers.busy_s() / len(found.workers.busy)
    measure_s = sum(load.measure_s) / len(load.measure_s)
    at_a_time = min(plan.workers, plan.batch_size) if plan.schedule == "synchronous" else plan.workers
    enough = max(1, math.ceil(at_a_time * measure_s / child_s / PHONE_LOAD))
    others = {(plan.workers, enough), (2 * plan.workers, max(phones, 2 * enough)), (plan.workers, 2 * phones)}
    short = replace(plan, trials=min(plan.trials, _WHAT_IF_ROUNDS * 2 * plan.workers))
    finals_s = found.finals_s and load.overhead_s + found.finals_s
    base_s = _simulated(short, space, load, phones).total_s
    alternatives = []
    for other_workers, other_phones in sorted(others - {(plan.workers, phones)}):
        took = _simulated(replace(short, workers=other_workers), space, load, other_phones)
        trials_s = found.total_s * took.total_s / base_s
        hours = (load.overhead_s + trials_s + finals_s) / 3600
        alternatives.append(Alternative(other_workers, other_phones, hours))
    return Forecast(
        trials=plan.trials,
        workers=plan.workers,
        phones=phones,
        hours=(load.overhead_s + found.total_s + finals_s) / 3600,
        overhead_s=load.overhead_s,
        finals_s=finals_s,
        device_hours=found.workers.busy_s() / 3600,
        phone_hours=found.phones.busy_s() / 3600,
        workers_busy=found.busy_share(found.workers),
        phones_busy=found.busy_share(found.phones),
        child_s=child_s,
        measure_s=measure_s,
        driver_ms=driver_ms,
        bottleneck=_bottleneck(plan, child_s, phones, enough, driver_ms / 1000),
        phones_enough=enough,
        alternatives=tuple(alternatives),
        stopped_share=found.counts["stopped"] / plan.trials,
        source=source,
    )


def _simulated(
    plan: SearchPlan,
    space: SearchSpace,
    load: Workload,
    phones: int,
    controller: Controller | None = None,
    finalists: FinalistSettings | None = None,
) -> Simulated:
    """Simulate a search; without a controller by random proposals, which cost little and are scheduled alike."""
    proposing = controller or create_controller("random", space.decision_sizes, seed=plan.seed)
    with tempfile.TemporaryDirectory(prefix="mnas-plan-") as folder:
        database = Path(folder) / "trials.sqlite"
        return simulate(plan, space, proposing, load, phones, database, finalists=finalists, seed=plan.seed)


def _driver_ms(experiment: Experiment, plan: SearchPlan, space: SearchSpace, load: Workload, phones: int) -> float:
    """Return the CPU time that driver, store and controller take for a trial; it does not grow with their number."""
    short = replace(plan, trials=min(plan.trials, _DRIVER_TRIALS))
    began_s = time.process_time()
    _simulated(short, space, load, phones, experiment.create_controller(space))
    return 1000 * (time.process_time() - began_s) / short.trials


def _bottleneck(plan: SearchPlan, child_s: float, phones: int, enough: int, driver_s: float) -> str:
    if driver_s > child_s / plan.workers:
        return "driver"
    if phones < enough:
        return "phones"
    if plan.schedule == "synchronous":
        return "schedule"
    return "workers"


def workload_of_run(run: Run) -> Workload:
    """Return how long things took in a run; of children that were stopped early, how long all epochs would have taken.

    An older run does not know what start and end took; that is then as in an estimate.

    Raises:
        ConfigurationError: No child of the run has been trained.
    """
    try:
        load = workload_of_trials(run.iterate(), run.experiment.training.epochs)
    except ValueError as error:
        raise ConfigurationError(f"--like {run.directory}: {error}; name another run") from error
    with read_store(run.directory) as store:
        # The first child of a run that was stopped and went on may have waited for that.
        startup_s = waited_s(store.trial(1)) if store.sessions() == 1 else STARTUP_S
    overhead_s = OVERHEAD_S if run.overhead_s is None else run.overhead_s
    return replace(load, startup_s=load.startup_s + startup_s, overhead_s=COMMAND_S + overhead_s)


def waited_s(trial: Trial) -> float:
    """Return how long a child waited for its worker: the first ones wait until it has loaded MindSpore."""
    started_at = (trial.training or {}).get("started_at")
    if started_at is None:
        return 0.0
    started, proposed = (datetime.fromisoformat(time) for time in (started_at, trial.proposed_at))
    return max(0.0, (started - proposed).total_seconds())


def workload_of_trials(trials: Iterable[Trial], epochs: int, *, without: Collection[str] = ()) -> Workload:
    """Return how long things took in trials.

    Args:
        trials: The trials.
        epochs: Those of a whole training.
        without: Phases of their children to leave out.

    Raises:
        ValueError: None of them has a child whose times are known.
    """
    train, compiled, measured, starts = [], [], [], []
    for trial in trials:
        phases = {} if trial.training is None else trial.training.get("phases", {})
        seconds = {name: float(phase["wall_s"]) for name, phase in phases.items() if name not in without}
        if "train" in seconds:
            compiled.append(seconds.get("compile", 0.0))
            training_s = sum(seconds.values()) - compiled[-1] - seconds.get("import", 0.0)
            train.append(training_s * epochs / epochs_trained(trial, epochs))
            starts.append(seconds.get("import", 0.0))
        if trial.latency is not None:
            measured.append(_measured_s(trial.latency))
    if not train:
        raise ValueError("it has no child whose times are known")
    return Workload(
        train_s=tuple(train),
        compile_s=tuple(compiled),
        measure_s=tuple(measured) or (_SESSION_S,),
        startup_s=max(starts),
    )


def planned_workers(experiment: Experiment) -> int:
    """Return how many children train at a time.

    Raises:
        ConfigurationError: Only the cluster knows.
    """
    if experiment.search.workers != "auto":
        return experiment.search.workers
    if experiment.device == "CPU":
        return len(os.sched_getaffinity(0))
    raise ConfigurationError(
        "search.workers is `auto`, one for every NPU of the cluster, and how many there are is not known here; write "
        "their number, or give --workers to `mnas plan`"
    )


def phone_count(experiment: Experiment) -> int:
    """Return how many phones of the experiment's name this machine has; 1 if other hosts of a cluster have them."""
    try:
        phones = create_phones(experiment.latency.phone)
    except PhoneUnknownError:
        return 1
    for phone in phones:
        phone.close()
    return len(phones)


def _measured_s(record: Mapping[str, Any]) -> float:
    """Return about how long a measurement took: what its record knows of loading, warming up and timed runs."""
    seconds = 0.0
    for session in record.get("sessions", ()):
        loaded, runs_ms = session.get("loaded") or {}, session.get("window", {}).get("wall_ms", ())
        seconds += (loaded.get("load_ms", 0.0) + loaded.get("warmup_ms", 0.0) + sum(runs_ms)) / 1000
    windows = len(record.get("sessions", ())) + len(record.get("rejected_windows", ()))
    return seconds + 0.2 * max(1, windows)


def estimated_workload(experiment: Experiment, given: GivenTimes) -> tuple[Workload, str]:
    """Return how long things will take, and where that is from: what is given, and else a rough estimate.

    Raises:
        ConfigurationError: The number of training images is not known, so that a child's time cannot be estimated.
    """
    child_s, compile_s, measure_s = given.child_s, given.compile_s, given.measure_s
    known = [name for name, value in (("child", child_s), ("measurement", measure_s)) if value is not None]
    if compile_s is None:
        compile_s = COMPILE_S[experiment.device] if child_s is None else 0.0
    if child_s is None:
        child_s = _estimated_training_s(experiment) + compile_s
    if child_s <= compile_s:
        raise ConfigurationError(f"--child-s {child_s:g}: it includes compiling, which takes {compile_s:g} s; raise it")
    if measure_s is None:
        settings = experiment.latency.measurement_settings(experiment.latency.phone)
        run_ms = experiment.latency.target_ms
        runs_ms = min(settings.runs * run_ms, max(settings.window_budget_ms, settings.min_runs * run_ms))
        measure_s = settings.sessions * (_SESSION_S + (settings.warmup_min_ms + runs_ms) / 1000)
    source = f"given: {' and '.join(known)}" if len(known) == 2 else "a rough estimate from multiply-adds"
    load = Workload(
        train_s=spread_around(child_s - compile_s, SPREAD),
        compile_s=spread_around(compile_s, SPREAD),
        measure_s=spread_around(measure_s, SPREAD),
        startup_s=STARTUP_S,
        overhead_s=COMMAND_S + OVERHEAD_S,
    )
    return load, source


def _estimated_training_s(experiment: Experiment) -> float:
    data = experiment.data
    images = getattr(data, "train_images", None)
    if images is None:
        try:
            images = len(data.load_search().train)
        except InputError as error:
            raise ConfigurationError(
                f"the training images cannot be counted ({error}); give the time of a child by --child-s, or a run of "
                "the same experiment by --like"
            ) from error
    space, random = experiment.load_space(), np.random.default_rng(0)
    sampled = [space.decode(space.sample(random)) for _ in range(15)]
    multiply_adds = median(
        cost(lower(architecture, image_size=data.image_size, channels=3, num_classes=10)).multiply_adds
        for architecture in sampled
    )
    # Forward and backward are about three times the forward pass, of two operations for each multiply-add.
    operations = 6 * multiply_adds * images * experiment.training.epochs
    return operations / TRAINING_SPEED[experiment.device]


def hours_text(hours: float) -> str:
    """Return hours for people, in minutes if there are few, in seconds below two minutes."""
    if hours >= 1:
        return f"{hours:.1f} hours"
    return f"{60 * hours:.1f} minutes" if hours >= 2 / 60 else f"{3600 * hours:.0f} seconds"
