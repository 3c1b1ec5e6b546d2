"""What the searches of an audit have found, as numbers: noise, rank correlations, costs, and the reward's effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from mnas.audit.parts import AuditPlan
from mnas.audit.statistics import (
    FEWEST_NETWORKS,
    Floats,
    RankCorrelation,
    Spread,
    spread_of,
    tau_of,
    tau_with_other_seeds,
)
from mnas.errors import Error
from mnas.experiment import Experiment
from mnas.reward import RewardSettings, reward
from mnas.search.forecast import (
    COMMAND_S,
    OVERHEAD_S,
    Forecast,
    forecast,
    phone_count,
    planned_workers,
    waited_s,
    workload_of_trials,
)
from mnas.search.results import deciding_latency, kinds_of
from mnas.search.trial import Trial
from mnas.training.phases import LEARNING_CURVE
from search_space import multiply_adds

KEPT_TAU = 0.9
"""Share of the full training's tau that a cheaper one must have to rank about as well."""
WORTHWHILE_COST = 0.9
"""A training that costs a larger share of the full one is not worth a change."""
CURVE_SHARES = (0.25, 0.5, 0.75)
"""Of the epochs, after which the order of the networks is compared with the last one."""
EXPONENTS = (0.0, -0.035, -0.07, -0.14, -0.28)
"""Exponents w of the reward that are compared with the experiment's."""


class AuditError(Error):
    """Too few networks of an audit could be trained."""


@dataclass(frozen=True)
class AuditedNetwork:
    """One network that was trained fully with every seed.

    Attributes:
        number: Its number in the audit, from 1, by multiply-adds.
        decisions: The controller's integers.
        multiply_adds: For one image.
        accuracies: Top-1 on the reward set, from 0 to 1, with each seed.
        latencies_ms: The latency on the experiment's phone, measured afresh each time, in milliseconds.
        curve: Accuracy after each epoch, the mean over the seeds.
    """

    number: int
    decisions: tuple[int, ...]
    multiply_adds: int
    accuracies: tuple[float, ...]
    latencies_ms: tuple[float, ...]
    curve: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Mean accuracy."""
        return fmean(self.accuracies)

    @property
    def latency_ms(self) -> float:
        """Mean latency in milliseconds."""
        return fmean(self.latencies_ms)


@dataclass(frozen=True)
class Proxy:
    """A cheaper way to rank the networks.

    Attributes:
        change: What is cheaper: a key of the experiment and its value, or `after 2 of 5 epochs` of the full training.
        cost: Its time as a share of the full training's, as measured, compilation and evaluation included.
        order: How well it ranks the networks: against the mean of the full trainings with the other seeds.
        networks: How many networks `order` is of.
    """

    change: str
    cost: float
    order: RankCorrelation
    networks: int


@dataclass(frozen=True)
class RewardEffect:
    """How a reward ranks the networks, by their mean accuracies and latencies.

    Attributes:
        alpha: The exponent w of networks that meet the target.
        beta: The exponent w of those that do not.
        own: Whether these are the exponents of the experiment.
        best: Number of the network of highest reward.
        tau_accuracy: Kendall's tau of the order by reward and that by accuracy.
        tau_speed: Kendall's tau of the order by reward and that by speed.
    """

    alpha: float
    beta: float
    own: bool
    best: int
    tau_accuracy: float
    tau_speed: float


@dataclass(frozen=True)
class Findings:
    """What an audit has found.

    Attributes:
        networks: Those that were trained fully with every seed.
        failed: Why the others failed, by number.
        seeds: Full trainings of each network.
        classes: Number of classes.
        reward_images: Number of images that an accuracy is of.
        accuracy: Spread of the accuracies.
        latency: Spread of the logarithms of the latencies, so that its noise is relative.
        full_training: How well one full training ranks the networks: the most that a cheaper one can do.
        proxies: The cheaper trainings.
        reward_effects: What other exponents of the reward would change.
        target_ms: The target latency of the experiment.
        forecast: How long the whole search will take.
    """

    networks: tuple[AuditedNetwork, ...]
    failed: Mapping[int, str]
    seeds: int
    classes: int
    reward_images: int
    accuracy: Spread
    latency: Spread
    full_training: RankCorrelation
    proxies: tuple[Proxy, ...]
    reward_effects: tuple[RewardEffect, ...]
    target_ms: float
    forecast: Forecast

    @property
    def children_per_hour(self) -> float:
        """Children of the whole search, for each of its hours."""
        return self.forecast.trials / self.forecast.hours

    @property
    def within_target(self) -> int:
        """Networks whose mean latency meets the target."""
        return sum(network.latency_ms <= self.target_ms for network in self.networks)

    @property
    def curve(self) -> tuple[float, ...]:
        """Mean accuracy of all networks after each epoch."""
        return tuple(fmean(epoch) for epoch in zip(*(network.curve for network in self.networks), strict=True))

    @property
    def best_proxy(self) -> Proxy | None:
        """The cheapest training that ranks about as well as the full one (see `KEPT_TAU`); None if there is none."""
        least = KEPT_TAU * self.full_training.tau
        good = [
            proxy
            for proxy in self.proxies
            if proxy.order.tau >= least and proxy.order.low > 0 and proxy.cost <= WORTHWHILE_COST
        ]
        return min(good, key=lambda proxy: proxy.cost, default=None)

    def network(self, number: int) -> AuditedNetwork:
        """Return the network of a number."""
        return next(network for network in self.networks if network.number == number)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self) | {"children_per_hour": self.children_per_hour, "curve": self.curve}


def findings(plan: AuditPlan, trials: Mapping[str, Sequence[Trial]], overhead_s: float | None) -> Findings:
    """Return what the searches of an audit have found.

    Args:
        plan: The audit.
        trials: The trials of each part, by its name; those of a part are in the order of the plan's networks.
        overhead_s: What a search takes before its first proposal and after its last trial, in seconds; None if that is
            not known.

    Raises:
        AuditError: Fewer than `FEWEST_NETWORKS` were trained fully with every seed.
    """
    every = [trials[part.name] for part in plan.parts if part.cheaper is None]
    rows = [row for row, found in enumerate(zip(*every, strict=True)) if _all_complete(found)]
    failed = {
        row + 1: kinds_of(found) for row, found in enumerate(zip(*every, strict=True)) if not _all_complete(found)
    }
    if len(rows) < FEWEST_NETWORKS:
        raise AuditError(
            f"{len(failed)} of {len(plan.networks)} networks failed, the first with {next(iter(failed.values()))}; fix "
            "what it names and run the same command again, or audit more networks"
        )
    full = [[seed[row] for row in rows] for seed in every]
    accuracies = np.array([[trial.accuracy for trial in seed] for seed in full], np.float64).T
    latencies_ms = np.array([[trial.latency_ms for trial in seed] for seed in full], np.float64).T
    # Shape (networks, seeds, epochs).
    curves = np.array([[_training(trial)["epoch_accuracies"] for trial in seed] for seed in full]).swapaxes(0, 1)
    networks = tuple(
        AuditedNetwork(
            number=row + 1,
            decisions=plan.networks[row],
            multiply_adds=multiply_adds(plan.form.lower(plan.experiment.load_space().decode(plan.networks[row]))),
            accuracies=tuple(accuracies[place].tolist()),
            latencies_ms=tuple(latencies_ms[place].tolist()),
            curve=tuple(curves[place].mean(axis=0).tolist()),
        )
        for place, row in enumerate(rows)
    )
    child_s = _mean_s([trial for seed in full for trial in seed])
    return Findings(
        networks=networks,
        failed=failed,
        seeds=len(full),
        classes=plan.form.num_classes,
        reward_images=plan.reward_images,
        accuracy=spread_of(accuracies),
        latency=spread_of(np.log(latencies_ms)),
        full_training=tau_with_other_seeds(accuracies, accuracies),
        proxies=(
            *_epochs_of(curves, accuracies, full, child_s),
            *_cheaper(
                plan, {name: [found[row] for row in rows] for name, found in trials.items()}, accuracies, child_s
            ),
        ),
        reward_effects=_reward_effects(plan.experiment, full, accuracies.mean(axis=1), rows),
        target_ms=plan.experiment.latency.target_ms,
        forecast=_forecast(plan.experiment, full, overhead_s),
    )


def _all_complete(trials: Sequence[Trial]) -> bool:
    return all(trial.state == "complete" for trial in trials)


def _training(trial: Trial) -> Mapping[str, Any]:
    """Return the record of a complete trial's training."""
    assert trial.training is not None  # no network is twice in a part, so no trial is a repeat
    return trial.training


def _phases(trial: Trial) -> dict[str, float]:
    """Return the seconds of each phase of a child, as they would be in a search."""
    times = {name: float(phase["wall_s"]) for name, phase in _training(trial)["phases"].items()}
    return {name: wall_s for name, wall_s in times.items() if name not in ("import", LEARNING_CURVE)}


def _mean_s(trials: Sequence[Trial]) -> float:
    return fmean(sum(_phases(trial).values()) for trial in trials)


def _epochs_of(curves: Floats, accuracies: Floats, full: Sequence[Sequence[Trial]], child_s: float) -> list[Proxy]:
    """Return how well the full trainings rank the networks before their end."""
    networks, _, epochs = curves.shape
    train_s = fmean(_phases(trial)["train"] for seed in full for trial in seed)
    return [
        Proxy(
            f"after {epoch} of {epochs} epochs",
            (child_s - train_s * (1 - epoch / epochs)) / child_s,
            tau_with_other_seeds(curves[:, :, epoch - 1], accuracies),
            networks,
        )
        for epoch in sorted({round(share * epochs) for share in CURVE_SHARES})
        if 1 <= epoch < epochs
    ]


def _cheaper(plan: AuditPlan, trials: Mapping[str, Sequence[Trial]], accuracies: Floats, child_s: float) -> list[Proxy]:
    """Return how well the cheaper trainings rank the networks; those with too few networks are left out."""
    proxies = []
    for part in plan.parts:
        places = [place for place, trial in enumerate(trials[part.name]) if trial.state == "complete"]
        if part.cheaper is None or len(places) < FEWEST_NETWORKS:
            continue
        found = [trials[part.name][place] for place in places]
        values = np.array([[trial.accuracy] for trial in found], np.float64)
        order = tau_with_other_seeds(values, accuracies[places])
        proxies.append(Proxy(str(part.cheaper), _mean_s(found) / child_s, order, len(places)))
    return proxies


def _reward_effects(
    experiment: Experiment, full: Sequence[Sequence[Trial]], accuracies: Floats, rows: Sequence[int]
) -> tuple[RewardEffect, ...]:
    """Return how rewards with other exponents rank the networks."""
    target_ms, others_ms = experiment.latency.target_ms, experiment.latency.rewarded_others()
    # LAT / T of the phone that decides the reward, the mean over the seeds.
    ratios = np.zeros(len(rows))
    for seed in full:
        pairs = [deciding_latency(trial.latency or {}, target_ms, others_ms) for trial in seed]
        ratios += np.array([latency_ms / of_ms for latency_ms, of_ms in pairs]) / len(full)
    own = experiment.reward.exponents
    compared = {(w, w) for w in EXPONENTS} | {RewardSettings(form="hard").exponents, own}
    effects = []
    for alpha, beta in sorted(compared, reverse=True):
        settings = RewardSettings(alpha=alpha, beta=beta)
        rewards = np.array([reward(float(a), float(r), 1.0, settings) for a, r in zip(accuracies, ratios, strict=True)])
        effects.append(
            RewardEffect(
                alpha=alpha,
                beta=beta,
                own=(alpha, beta) == own,
                best=rows[int(rewards.argmax())] + 1,
                tau_accuracy=tau_of(rewards, accuracies),
                tau_speed=tau_of(rewards, -ratios),
            )
        )
    return tuple(effects)


def _forecast(experiment: Experiment, full: Sequence[Sequence[Trial]], overhead_s: float | None) -> Forecast:
    """Return how long the whole search will take, from the times of the full trainings."""
    workers = planned_workers(experiment)
    load = workload_of_trials(
        [trial for seed in full for trial in seed],
        experiment.training.epochs,
        without=() if experiment.search.learning_curves else (LEARNING_CURVE,),
    )
    # A search that was stopped and went on has waited longer.
    startup_s = min(max(waited_s(trial) for trial in seed[:workers]) for seed in full)
    around_s = COMMAND_S + (OVERHEAD_S if overhead_s is None else overhead_s)
    load = replace(load, startup_s=startup_s, overhead_s=around_s)
    return forecast(experiment, workers, phone_count(experiment), load, "the full trainings of the audit")
