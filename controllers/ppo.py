"""Proximal policy optimization of an RNN controller, the search strategy of MnasNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from controllers.adam import Adam
from controllers.controller import Architecture, ControllerError, State, check_count, check_results
from controllers.history import History
from controllers.hyperparameters import choice, integer, number, switch
from controllers.lstm_policy import Floats, LstmPolicy
from controllers.ppo_loss import Batch, LossTerms, loss_and_gradient
from controllers.state import (
    architectures_entry,
    check_identity,
    generator_entry,
    identity_entries,
    read_architectures,
    read_count,
    read_float,
    read_floats,
    read_generator,
)


@dataclass(frozen=True)
class PpoHyperparameters:
    """Hyper-parameters of PPO; the defaults are the preset `tuned`."""

    hidden_units: int = integer(100, "units of the LSTM layer", low=1, high=4096)
    embedding_units: int = integer(32, "length of the vector that stands for a choice", low=1, high=4096)
    init_scale: float = number(0.1, "parameters start uniform in +- this", low=1e-6, high=10.0)
    learning_rate: float = number(0.01, "learning rate of Adam", low=1e-8, high=1.0)
    batch_size: int = integer(5, "told architectures per update", low=1, high=10_000)
    epochs: int = integer(4, "gradient steps per update", low=1, high=100)
    clip_ratio: float = number(
        0.2,
        "change of probability ratio beyond which a batch pulls no further",
        low=1e-3,
        high=10.0,
    )
    max_gradient_norm: float = number(1.0, "longer gradients are scaled to this norm", low=1e-6, high=1e9)
    entropy_weight: float = number(0.1, "weight of the policy's entropy, summed over decisions", low=0.0, high=100.0)
    advantage: str = choice(
        "standardised",
        "a reward is compared with its batch's mean and standard deviation, or with a moving average (ema)",
        options=("standardised", "ema"),
    )
    baseline_decay: float = number(0.95, "decay of the moving average; for advantage ema", low=0.0, high=1.0)
    priority_queue_size: int = integer(
        5,
        "best architectures whose log-probability is raised in every update; 0 turns it off",
        low=0,
        high=10_000,
    )
    priority_queue_weight: float = number(1.0, "weight of their mean log-probability", low=0.0, high=100.0)
    distinct: bool = switch(True, "never propose an architecture that was proposed or told before")


PRESETS: Mapping[str, Mapping[str, object]] = {
    # For hundreds of evaluations; compared in experiments/benchmarks/search_quality.py.
    "tuned": {},
    # Zoph et al. (2018), appendix A, as far as it goes: it names neither epochs nor clipping, which are
    # PPO's usual ones. Meant for thousands of evaluations.
    "paper": {
        "embedding_units": 100,
        "learning_rate": 3.5e-4,
        "batch_size": 20,
        "entropy_weight": 1e-5,
        "advantage": "ema",
        "priority_queue_size": 0,
        "distinct": False,
    },
}
"""Named changes to the defaults."""

# Rounds of replacements for samples that are rejected; each round flattens the policy further.
_REDRAW_TEMPERATURES = ((1.0, 3.0), (3.0, 27.0))
_MIN_REDRAWS = 8


@dataclass(frozen=True)
class _Result:
    """A told architecture that waits for its batch to fill up, or a member of the priority queue."""

    architecture: Architecture
    log_probability: float
    reward: float


class Ppo:
    """Samples architectures from an LSTM policy and improves it by PPO, one update per `batch_size` results.

    With `distinct`, samples that were seen before are rejected, and the policy is sampled again at rising
    temperatures: once it has converged, this explores the neighbourhood of the best. Should that fail too, an
    unseen architecture is drawn uniformly.
    """

    def __init__(self, decision_sizes: tuple[int, ...], seed: int, hyperparameters: PpoHyperparameters) -> None:
        self._sizes = decision_sizes
        self._hyperparameters = hyperparameters
        self._identity = identity_entries("ppo", decision_sizes, asdict(hyperparameters))
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._policy = LstmPolicy(
            decision_sizes,
            hidden_units=hyperparameters.hidden_units,
            embedding_units=hyperparameters.embedding_units,
            init_scale=hyperparameters.init_scale,
            generator=self._generator,
        )
        self._adam = Adam(len(self._policy.parameters), hyperparameters.learning_rate)
        self._history = History(decision_sizes)
        self._outstanding: dict[Architecture, list[float]] = {}
        """Log-probabilities at the time of asking; several where one architecture is out more than once."""
        self._pending: list[_Result] = []
        """Results that wait for their batch to fill up."""
        self._elite: list[_Result] = []
        """The priority queue, best first; each architecture once."""
        self._baseline = 0.0
        self._updates = 0

    def ask(self, count: int) -> list[Architecture]:
        """Return `count` samples of the policy; fewer if they are distinct and the space is used up."""
        count = check_count(count)
        sampled = self._sample_unseen(count) if self._hyperparameters.distinct else self._sample(np.ones(count))
        for architecture, log_probability in sampled:
            self._outstanding.setdefault(architecture, []).append(log_probability)
        return [architecture for architecture, _ in sampled]

    def tell(self, architectures: Sequence[Architecture], rewards: Sequence[float]) -> None:
        """Add results to the batch; whenever it is full, update the policy."""
        for architecture, reward in check_results(self._sizes, architectures, rewards):
            result = _Result(architecture, self._old_log_probability(architecture), reward)
            if self._hyperparameters.distinct:
                self._history.add(architecture)
            self._enqueue(result)
            self._pending.append(result)
            if len(self._pending) == self._hyperparameters.batch_size:
                self._update()
                self._pending = []

    def _sample(self, temperatures: Floats) -> list[tuple[Architecture, float]]:
        architectures, log_probabilities = self._policy.sample(temperatures, self._generator)
        return list(zip(map(tuple, architectures.tolist()), log_probabilities.tolist(), strict=True))

    def _sample_unseen(self, count: int) -> list[tuple[Architecture, float]]:
        count = min(count, self._history.unseen_count)
        accepted: list[tuple[Architecture, float]] = []
        for low, high in _REDRAW_TEMPERATURES:
            missing = count - len(accepted)
            if not missing:
                break
            # One pass also draws the replacements: a converged policy needs them at nearly every call.
            redraws = np.geomspace(low, high, max(missing, _MIN_REDRAWS))
            for architecture, log_probability in self._sample(np.concatenate([np.ones(missing), redraws])):
                if len(accepted) < count and self._history.add(architecture):
                    accepted.append((architecture, log_probability))
        while len(accepted) < count:
            architecture = self._history.draw_unseen(self._generator)
            self._history.add(architecture)
            accepted.append((architecture, self._log_probability(architecture)))
        return accepted

    def _old_log_probability(self, architecture: Architecture) -> float:
        """Return the log-probability at the time of asking, or the present one if it was not asked for."""
        waiting = self._outstanding.get(architecture)
        if waiting is None:
            return self._log_probability(architecture)
        if len(waiting) == 1:
            del self._outstanding[architecture]
        return waiting.pop(0)

    def _log_probability(self, architecture: Architecture) -> float:
        trace = self._policy.forward(np.array([architecture]))
        return float((trace.chosen * trace.log_probabilities).sum())

    def _enqueue(self, result: _Result) -> None:
        rivals = [result]
        for other in self._elite:
            if other.architecture != result.architecture:
                rivals.append(other)
            elif other.reward >= result.reward:
                return
        # Among equal rewards the earlier result stays ahead.
        rivals.sort(key=lambda member: (-member.reward, member is result))
        self._elite = rivals[: self._hyperparameters.priority_queue_size]

    def _update(self) -> None:
        chosen = self._hyperparameters
        terms = LossTerms(chosen.clip_ratio, chosen.entropy_weight, chosen.priority_queue_weight)
        batch = Batch(
            architectures=np.array([result.architecture for result in self._pending]),
            old_log_probabilities=np.array([result.log_probability for result in self._pending]),
            advantages=self._advantages(np.array([result.reward for result in self._pending])),
            elite=np.array([result.architecture for result in self._elite], dtype=np.int64).reshape(
                -1, len(self._sizes)
            ),
        )
        for _ in range(chosen.epochs):
            _, gradient = loss_and_gradient(self._policy, batch, terms)
            # Not numpy.linalg.norm, whose rounding depends on the number of BLAS threads.
            norm = float(np.sqrt((gradient * gradient).sum()))
            if norm > chosen.max_gradient_norm:
                gradient *= chosen.max_gradient_norm / norm
            self._adam.update(self._policy.parameters, gradient)
        self._updates += 1

    def _advantages(self, rewards: Floats) -> Floats:
        if self._hyperparameters.advantage == "standardised":
            return _standardised(rewards)
        if self._updates == 0:
            self._baseline = float(rewards.mean())
        advantages = np.empty_like(rewards)
        for position, reward in enumerate(rewards):
            advantages[position] = reward - self._baseline
            self._baseline += (1 - self._hyperparameters.baseline_decay) * float(advantages[position])
        return advantages

    def state(self) -> dict[str, State]:
        """Return parameters, optimizer, generator, and all results and proposals that still matter."""
        outstanding = [
            (architecture, log_probability)
            for architecture, waiting in self._outstanding.items()
            for log_probability in waiting
        ]
        return {
            **self._identity,
            "generator": generator_entry(self._generator),
            "parameters": self._policy.parameters.copy(),
            "adam_mean": self._adam.mean.copy(),
            "adam_variance": self._adam.variance.copy(),
            "adam_steps": self._adam.steps,
            "updates": self._updates,
            "baseline": self._baseline,
            "seen": self._history.rows(),
            "outstanding": architectures_entry(self._sizes, [architecture for architecture, _ in outstanding]),
            "outstanding_log_probabilities": np.array([value for _, value in outstanding], dtype=np.float64),
            **_results_entries("pending", self._sizes, self._pending),
            **_results_entries("elite", self._sizes, self._elite),
        }

    def restore(self, state: dict[str, State]) -> None:
        """Continue from `state`."""
        check_identity(state, self._identity)
        size = len(self._policy.parameters)
        generator = read_generator(state, "generator")
        parameters = read_floats(state, "parameters", size)
        adam = Adam(size, self._hyperparameters.learning_rate)
        adam.mean = read_floats(state, "adam_mean", size)
        adam.variance = read_floats(state, "adam_variance", size)
        adam.steps = read_count(state, "adam_steps")
        updates = read_count(state, "updates")
        baseline = read_float(state, "baseline")
        history = History(self._sizes)
        for architecture in read_architectures(state, "seen", self._sizes):
            history.add(architecture)
        outstanding: dict[Architecture, list[float]] = {}
        proposals = read_architectures(state, "outstanding", self._sizes)
        log_probabilities = read_floats(state, "outstanding_log_probabilities", len(proposals))
        for architecture, log_probability in zip(proposals, log_probabilities.tolist(), strict=True):
            outstanding.setdefault(architecture, []).append(log_probability)
        pending = _read_results(state, "pending", self._sizes)
        if len(pending) >= self._hyperparameters.batch_size:
            raise ControllerError(f"the state has {len(pending)} pending results, which is a full batch; it is damaged")
        elite = _read_results(state, "elite", self._sizes)
        self._policy.parameters[:] = parameters
        self._generator, self._adam, self._history = generator, adam, history
        self._updates, self._baseline = updates, baseline
        self._outstanding, self._pending, self._elite = outstanding, pending, elite


def _standardised(rewards: Floats) -> Floats:
    # Scaled first, so that the squares of extreme rewards neither overflow nor vanish.
    scaled = rewards / (np.abs(rewards).max() or 1.0)
    centred = scaled - scaled.mean()
    standardised: Floats = centred / (np.sqrt((centred**2).mean()) + 1e-8)
    return standardised


def _results_entries(key: str, sizes: tuple[int, ...], results: list[_Result]) -> dict[str, State]:
    return {
        key: architectures_entry(sizes, [result.architecture for result in results]),
        f"{key}_log_probabilities": np.array([result.log_probability for result in results], dtype=np.float64),
        f"{key}_rewards": np.array([result.reward for result in results], dtype=np.float64),
    }


def _read_results(state: Mapping[str, State], key: str, sizes: tuple[int, ...]) -> list[_Result]:
    architectures = read_architectures(state, key, sizes)
    log_probabilities = read_floats(state, f"{key}_log_probabilities", len(architectures))
    rewards = read_floats(state, f"{key}_rewards", len(architectures))
    return [
        _Result(*values) for values in zip(architectures, log_probabilities.tolist(), rewards.tolist(), strict=True)
    ]
