"""REINFORCE: the plain policy gradient of an RNN controller, the search strategy of the first NAS papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from controllers.arrays import DecisionArray, Floats
from controllers.controller import ControllerError, Decisions, StateValue, check_count, check_results
from controllers.history import History, read_history
from controllers.hyperparameters import integer, number, switch
from controllers.policy.adam import AdamOptimizer, clip_norm, read_adam
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
    embedding_units: int = integer(32, "length of the vector that represents a choice", low=1, high=4096)
    init_scale: float = number(0.1, "parameters start uniform between minus and plus this value", low=1e-6, high=10.0)
    learning_rate: float = number(0.01, "learning rate of Adam", low=1e-8, high=1.0)
    batch_size: int = integer(5, "results per gradient step", low=1, high=10_000)
    max_gradient_norm: float = number(1.0, "gradients with a larger norm are scaled to it", low=1e-6, high=1e9)
    entropy_weight: float = number(0.0, "weight of the policy's entropy, summed over decisions", low=0.0, high=100.0)
    baseline_decay: float = number(0.95, "decay of the moving average of rewards", low=0.0, high=1.0)
    distinct: bool = switch(True, "never propose what was proposed or told before")


class Reinforce:
    """Samples proposals from an LSTM policy and follows the gradient of the expected reward.

    Every `batch_size` results make one step of Adam along the mean of (reward - baseline) * gradient of the
    log-probability (Williams, 1992; Zoph and Le, 2017, section 3.2). The baseline is an exponential moving
    average of the rewards. The gradient is that of the present policy, also for a result that an earlier policy
    proposed.
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
        self._adam = AdamOptimizer(len(self._policy.parameters), hyperparameters.learning_rate)
        self._history = History(decision_sizes)
        self._batch: list[Result] = []
        """Results that wait until the batch is full; stored under the key `pending`."""
        self._baseline = 0.0
        self._updates = 0

    def ask(self, count: int) -> list[Decisions]:
        """Return `count` samples of the policy; fewer if they are distinct and the space is used up."""
        count = check_count(count)
        if self._hyperparameters.distinct:
            samples = sample_unseen(self._policy, count, self._history, self._generator)
        else:
            samples = sample(self._policy, np.ones(count), self._generator)
        return [proposal.decisions for proposal in samples]

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float]) -> None:
        """Add results to the batch, and update the policy whenever it is full."""
        for decisions, reward in check_results(self._sizes, proposals, rewards):
            if self._hyperparameters.distinct:
                self._history.add(decisions)
            self._batch.append(Result(decisions, reward))
            if len(self._batch) == self._hyperparameters.batch_size:
                self._update()
                self._batch = []

    def _update(self) -> None:
        advantages, self._baseline = above_moving_average(
            np.array([result.reward for result in self._batch]),
            self._baseline if self._updates else None,
            self._hyperparameters.baseline_decay,
        )
        proposals = np.array([result.decisions for result in self._batch])
        gradient = policy_gradient(self._policy, proposals, advantages, self._hyperparameters.entropy_weight)
        clip_norm(gradient, self._hyperparameters.max_gradient_norm)
        self._adam.update(self._policy.parameters, gradient)
        self._updates += 1

    def state(self) -> dict[str, StateValue]:
        """Return parameters, optimizer, generator, the unfinished batch and the seen proposals."""
        return {
            **self._identity,
            "generator": generator_entry(self._generator),
            "parameters": self._policy.parameters.copy(),
            **self._adam.entries(),
            "updates": self._updates,
            "baseline": self._baseline,
            "seen": self._history.rows(),
            **results_entries("pending", self._sizes, self._batch),
        }

    def restore(self, state: dict[str, StateValue]) -> None:
        """Continue from `state`."""
        check_identity(state, self._identity)
        size = len(self._policy.parameters)
        generator = read_generator(state, "generator")
        parameters = read_floats(state, "parameters", size)
        adam = read_adam(state, size, self._hyperparameters.learning_rate)
        updates = read_count(state, "updates")
        baseline = read_float(state, "baseline")
        history = read_history(state, "seen", self._sizes)
        batch = read_results(state, "pending", self._sizes)
        if len(batch) >= self._hyperparameters.batch_size:
            raise ControllerError(f"the state has {len(batch)} pending results, which is a full batch; it is damaged")
        self._policy.parameters[:] = parameters
        self._generator, self._adam, self._history = generator, adam, history
        self._updates, self._baseline, self._batch = updates, baseline, batch


def policy_gradient(policy: LstmPolicy, proposals: DecisionArray, advantages: Floats, entropy_weight: float) -> Floats:
    """Return the gradient of -mean(advantage * log-probability) - entropy_weight * entropy.

    Args:
        policy: The policy to whose parameters the gradient refers.
        proposals: Shape (batch, decisions).
        advantages: Shape (batch,).
        entropy_weight: Weight of the entropy, which is summed over decisions and averaged over the batch.
    """
    trace = policy.forward(proposals)
    slopes = -advantages / len(advantages)
    logit_gradient = slopes[:, None] * (trace.chosen - np.exp(trace.log_probabilities))
    _, entropy_gradient = entropy_term(policy, trace.log_probabilities, entropy_weight)
    return policy.backward(trace, logit_gradient + entropy_gradient)
