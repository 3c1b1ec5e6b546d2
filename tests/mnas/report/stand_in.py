"""Runs written directly into a store, for what a report shows: failures, two phones, rejected windows, many trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from latency import LatencyRecord, MeasurementSettings, PhoneIdentity
from latency.measurement.record import LoadReport, PhoneConditions, RejectedWindow, Session
from latency.measurement.window import TimedWindow
from mnas.data import DigitsSettings
from mnas.documents.json_text import dump_json
from mnas.errors import Failure, FailureKind
from mnas.experiment import Experiment, FinalistSettings, LatencySettings, OtherPhone, SearchSettings
from mnas.reward import reward
from mnas.search.run_directory import open_run
from mnas.search.store import Outcome, Proposal
from mnas.training.settings import TrainingSettings
from search_space import (
    Architecture,
    SearchSpace,
    architecture_from_dict,
    architecture_to_dict,
    cost,
    fingerprint,
    lower,
)

FAILURES = (
    Failure(FailureKind.TRAINING_DIVERGED, "training diverged: the loss is nan at step 12; lower the learning rate"),
    Failure(FailureKind.PHONE, "phone 'pixel6': 0 of 1 sessions were steady, 8 windows were not"),
    Failure(FailureKind.CHILD_TIMEOUT, "the child took longer than 3600 s"),
)


def stand_in_run(
    directory: Path,
    trials: int,
    *,
    space_name: str = "tiny16",
    seed: int = 0,
    pending: int = 0,
    other: str | None = None,
    failure: Failure | None = None,
    finalists: int = 0,
) -> Path:
    """Write a run whose proposals get better over time; about every 12th fails.

    Args:
        directory: The new run directory.
        trials: How many trials there are, those pending included.
        space_name: The search space.
        seed: Of everything random, and of the experiment.
        pending: How many of the last trials have not ended.
        other: The name of a second phone, if there is one.
        failure: What failed trials say, instead of `FAILURES`.
        finalists: How many of the best are trained again, three times each.
    """
    data = DigitsSettings(image_size=16, reward_images=300)
    space = SearchSpace.load(space_name)
    experiment = Experiment(
        space=space_name,
        data=data,
        training=TrainingSettings(epochs=3, learning_rate=0.01),
        search=SearchSettings(
            trials=trials,
            finalists=FinalistSettings(count=finalists, extra_trainings=3 * finalists) if finalists else None,
        ),
        latency=LatencySettings(target_ms=1.0, others={other: OtherPhone(target_ms=2.0)} if other else {}),
        seed=seed,
    )
    random = np.random.default_rng(seed)
    sizes = np.array(space.decision_sizes)
    liked = random.integers(sizes)
    proposals: list[Proposal] = []
    first: dict[str, int] = {}
    for number in range(1, trials + 1):
        follow = random.random(len(sizes)) < 0.75 * (number / trials)
        indices = np.where(follow, liked, random.integers(sizes))
        architecture = space.decode([int(index) for index in indices])
        key = fingerprint(architecture)
        repeat_of = first.setdefault(key, number)
        decisions = tuple(int(index) for index in indices)
        repeat = None if repeat_of == number else repeat_of
        proposals.append(Proposal(number, decisions, architecture_to_dict(architecture), key, repeat))
    with open_run(directory, experiment, data.load_search()) as store:
        store.propose(trials, proposals, {})
        rows = _rows(proposals[: trials - pending], experiment, random, other, failure)
        with store._transaction() as connection:  # one transaction: 10,000 synced ones take a minute
            connection.executemany(
                "UPDATE trials SET training = ?, latency = ?, state = ?, accuracy = ?, latency_ms = ?, reward = ?, "
                "failure_kind = ?, failure_message = ?, proposed_at = ?, finished_at = ? WHERE id = ?",
                rows,
            )
        for place, trial in enumerate(store.best(finalists) * 3 if finalists else ()):
            fresh = (trial.reward or 0.0) + float(random.normal(0, 0.004))
            store.write(
                "INSERT INTO finalist_trainings (trial, seed, state, accuracy, latency_ms, reward, proposed_at, "
                "finished_at) VALUES (?, ?, 'complete', ?, ?, ?, ?, ?)",
                (trial.id, place, trial.accuracy, trial.latency_ms, fresh, trial.proposed_at, trial.finished_at),
            )
    return directory


def _rows(
    proposals: list[Proposal],
    experiment: Experiment,
    random: np.random.Generator,
    other: str | None,
    failure: Failure | None,
) -> list[tuple[Any, ...]]:
    start = datetime(2026, 3, 1, 8, 0, tzinfo=timezone.utc)
    rows: list[tuple[Any, ...]] = []
    done: dict[int, Outcome] = {}
    for place, proposal in enumerate(proposals):
        began = start + timedelta(seconds=2.1 * place)
        train_s = float(4 + random.random())
        ended = began + timedelta(seconds=train_s + 2.5 + float(random.random()))
        training: Mapping[str, Any] | None = None
        latency: Mapping[str, Any] | None = None
        if proposal.repeat_of is not None:
            outcome = replace(done[proposal.repeat_of], trial_id=proposal.id)
        else:
            effort = np.log10(
                cost(lower(_architecture(proposal), image_size=16, channels=1, num_classes=10)).multiply_adds
            )
            latency_ms = float(10 ** (0.8 * (effort - 5.8)) * random.normal(1, 0.04))
            correct = int(np.clip(300 * (0.55 + 0.13 * (effort - 4.6)) + random.normal(0, 9), 30, 299))
            accuracy = correct / 300
            host = _record("host", "box", latency_ms, ended - timedelta(seconds=1), random, proposal.id)
            latency = host.to_dict()
            if other:
                slower = _record(other, "R5CT", 2.2 * latency_ms, ended - timedelta(seconds=0.5), random, proposal.id)
                latency = {**latency, "others": {other: slower.to_dict()}}
            phases = {"import": 0.01, "build": 0.06, "compile": 1.2, "train": train_s, "evaluate": 0.05}
            training = {
                "accuracy": accuracy,
                "loss": 1.1 - accuracy,
                "train_loss": 1.0 - accuracy,
                "steps": 66,
                "images_per_s": 1200.0,
                "phases": {name: {"wall_s": wall_s, "cpu_s": wall_s} for name, wall_s in phases.items()},
                "resident_mb": 600.0,
                "epoch_losses": [1.8, 1.2, 1.0 - accuracy],
                "started_at": (began + timedelta(seconds=0.4)).isoformat(timespec="milliseconds"),
            }
            value = reward(accuracy, host.latency_ms, experiment.latency.target_ms, experiment.reward)
            outcome = Outcome(proposal.id, accuracy, host.latency_ms, value)
            if random.random() < 1 / 12:
                chosen = failure or FAILURES[int(random.integers(len(FAILURES)))]
                outcome = Outcome(proposal.id, failure=chosen)
        done[proposal.id] = outcome
        failed = outcome.failure
        rows.append(
            (
                training and dump_json(training),
                latency and dump_json(latency),
                outcome.state,
                outcome.accuracy,
                outcome.latency_ms,
                outcome.reward,
                failed and failed.kind.value,
                failed and failed.message,
                began.isoformat(timespec="milliseconds"),
                ended.isoformat(timespec="milliseconds"),
                proposal.id,
            )
        )
    return rows


def _architecture(proposal: Proposal) -> Architecture:
    return architecture_from_dict(proposal.architecture)


def _record(
    name: str, serial: str, latency_ms: float, when: datetime, random: np.random.Generator, number: int
) -> LatencyRecord:
    walls = tuple(float(value) for value in latency_ms * (1 + 0.01 * np.abs(random.standard_normal(10))))
    reference = 0.15 * (1 + 0.02 * float(random.random()))
    adb = name != "host"
    window = TimedWindow(
        walls,
        walls,
        0,
        frequency_khz_before=2_800_000 if adb else None,
        frequency_khz_after=2_800_000 - 1000 * (number % 7) if adb else None,
        others_busy=0.02,
        reference_before_ms=reference,
        reference_after_ms=reference,
        reference_best_ms=0.15,
        temperature_c_after=38 + 4 * float(np.sin(number / 9)) if adb else None,
    )
    rejected = [RejectedWindow("contention 1.052 is above 1.03 (wall/CPU time)", window)] if number % 9 == 0 else []
    if number % 14 == 0:
        rejected.append(RejectedWindow("the core is 4.2% slower than at its best, which is above 3%", window))
    kind = "adb" if adb else "host"
    return LatencyRecord(
        model_sha256="0" * 64,
        phone=PhoneIdentity(name, kind, serial, "some processor", "onnxruntime", "1.32.0", "wheel", core=1),
        settings=MeasurementSettings(),
        sessions=(Session(LoadReport(3.0, 0.2, 300, 300.0, 1.0, None), window),),
        rejected_windows=tuple(rejected),
        accepted=True,
        reason="within all limits",
        measured_at=when.isoformat(timespec="milliseconds"),
        conditions=PhoneConditions(battery_temperature_c=31 + number % 5, battery_percent=90 - number % 40)
        if adb
        else PhoneConditions(),
    )
