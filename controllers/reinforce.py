"""REINFORCE: the plain policy gradient of an RNN controller, the search strategy of the first NAS papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from controllers.arrays import Floats, Indices
from controllers.controller import Architecture, ControllerError, State, check_count, check_results
from controllers.history import History, read_history
from controllers.hyperparameters import integer, number, switch
from controllers.policy.adam import Adam, read_adam, shorten
from controllers.policy.advantages import above_moving_average
from controllers.policy.lstm import LstmPolicy
from controllers.policy.ppo_loss import entropy_term
from controllers.policy.sampling import sample, sample_unseen
from controllers.results import Result, read_results, results_entries
from controllers.state import (
    check_identity,
    generator_entry,
    identity_entries,
    read_count,
    read_float,
    read_floats,
    read_generator,
)


@dataclass(frozen=True)
class ReinforceHyperparameters:
    """Hyper-parameters of REINFORCE."""

    hidden_units: int = integer(32, "units of the LSTM layer", low=1, high=4096)
    embedding_units: int = integer(32, "length of the vector that stands for a choice", low=1, high=4096)
    init_scale: float = number(0.1, "parameters start uniform in +- this", low=1e-6, high=10.0)
    learning_rate: float = number(0.01, "learning rate of Adam", low=1e-8, high=1.0)
    batch_size: int = integer(5, "told architectures per gradient step", low=1, high=10_000)
    max_gradient_norm: float = number(1.0, "longer gradients are scaled to this norm", low=1e-6, high=1e9)
    entropy_weight: float = number(0.0, "weight of the policy's entropy, summed over decisions", low=0.0, high=100.0)
    baseline_decay: float = number(0.95, "decay of the moving average of rewards", low=0.0, high=1.0)
    distinct: bool = switch(True, "never propose an architecture that was proposed or told before")


class Reinforce:
    """Samples architectures from an LSTM policy and follows the gradient of the expected reward.

    One step of Adam per `batch_size` results, along the mean of (reward - baseline) * gradient of the
    log-probability (Williams, 1992; Zoph and Le, 2017, section 3.2). The baseline is an exponential moving
    average of the rewards. The gradient is that of the present policy, whenever a result was proposed.
    """

    def __init__(self, decision_sizes: tuple[int, ...], seed: int, hyperparameters: ReinforceHyperparameters) -> None:
        self._sizes = decision_sizes
        self._hyperparameters = hyperparameters
        self._identity = identity_entries("reinforce", decision_sizes, asdict(hyperparameters))
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
        self._pending: list[Result] = []
        """Results that wait for their batch to fill up."""
        self._baseline = 0.0
        self._updates = 0

    def ask(self, count: int) -> list[Architecture]:
        """Return `count` samples of the policy; fewer if they are distinct and the space is used up."""
        count = check_count(count)
        if self._hyperparameters.distinct:
            samples = sample_unseen(self._policy, count, self._history, self._generator)
        else:
            samples = sample(self._policy, np.ones(count), self._generator)
        return [proposal.architecture for proposal in samples]

    def tell(self, architectures: Sequence[Architecture], rewards: Sequence[float]) -> None:
        """Add results to the batch; whenever it is full, update the policy."""
        for architecture, reward in check_results(self._sizes, architectures, rewards):
            if self._hyperparameters.distinct:
                self._history.add(architecture)
            self._pending.append(Result(architecture, reward))
            if len(self._pending) == self._hyperparameters.batch_size:
                self._update()
                self._pending = []

    def _update(self) -> None:
        advantages, self._baseline = above_moving_average(
            np.array([result.reward for result in self._pending]),
            self._baseline if self._updates else None,
            self._hyperparameters.baseline_decay,
        )
        architectures = np.array([result.architecture for result in self._pending])
        gradient = policy_gradient(self._policy, architectures, advantages, self._hyperparameters.entropy_weight)
        shorten(gradient, self._hyperparameters.max_gradient_norm)
        self._adam.update(self._policy.parameters, gradient)
        self._updates += 1

    def state(self) -> dict[str, State]:
        """Return parameters, optimizer, generator, the results that wait and the architectures seen."""
        return {
            **self._identity,
            "generator": generator_entry(self._generator),
            "parameters": self._policy.parameters.copy(),
            **self._adam.entries(),
            "updates": self._updates,
            "baseline": self._baseline,
            "seen": self._history.rows(),
            **results_entries("pending", self._sizes, self._pending),
        }

    def restore(self, state: dict[str, State]) -> None:
        """Continue from `state`."""
        check_identity(state, self._identity)
        size = len(self._policy.parameters)
        generator = read_generator(state, "generator")
        parameters = read_floats(state, "parameters", size)
        adam = read_adam(state, size, self._hyperparameters.learning_rate)
        updates = read_count(state, "updates")
        baseline = read_float(state, "baseline")
        history = read_history(state, "seen", self._sizes)
        pending = read_results(state, "pending", self._sizes)
        if len(pending) >= self._hyperparameters.batch_size:
            raise ControllerError(f"the state has {len(pending)} pending results, which is a full batch; it is damaged")
        self._policy.parameters[:] = parameters
        self._generator, self._adam, self._history = generator, adam, history
        self._updates, self._baseline, self._pending = updates, baseline, pending


def policy_gradient(policy: LstmPolicy, architectures: Indices, advantages: Floats, entropy_weight: float) -> Floats:
    """Return the gradient of -mean(advantage * log-probability) - entropy_weight * entropy.

    Args:
        policy: whose parameters the gradient refers to.
        architectures: shape (batch, decisions).
        advantages: shape (batch,).
        entropy_weight: of the entropy summed over decisions and averaged over the batch.
    """
    trace = policy.forward(architectures)
    slopes = -advantages / len(advantages)
    logit_gradient = slopes[:, None] * (trace.chosen - np.exp(trace.log_probabilities))
    _, entropy_gradient = entropy_term(policy, trace.log_probabilities, entropy_weight)
    return policy.backward(trace, logit_gradient + entropy_gradient)
