"""Proximal policy optimization of an RNN controller, the search strategy of MnasNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from controllers.arrays import Floats
from controllers.climb import MEMORY_SIZE, Climb, read_climb
from controllers.controller import ControllerError, Decisions, StateValue, check_count, check_results
from controllers.history import History, read_history
from controllers.hyperparameters import choice, integer, number, switch
from controllers.normal_scores import normal_scores
from controllers.policy.adam import AdamOptimizer, clip_norm, read_adam
from controllers.policy.advantages import above_moving_average, standardised
from controllers.policy.lstm import LstmPolicy
from controllers.policy.ppo_loss import LossTerms, PpoBatch, loss_and_gradient
from controllers.policy.sampling import Sample, log_probability, sample, sample_unseen
from controllers.results import Result, read_results, results_entries
from controllers.state import (
    check_identity,
    decisions_entry,
    generator_entry,
    identity_entries,
    read_count,
    read_decisions,
    read_float,
    read_floats,
    read_generator,
)


@dataclass(frozen=True)
class PpoHyperparameters:
    """Hyper-parameters of PPO; the defaults are the preset `tuned`."""

    hidden_units: int = integer(32, "units of the LSTM layer", low=1, high=4096)
    embedding_units: int = integer(32, "length of the vector that represents a choice", low=1, high=4096)
    init_scale: float = number(0.1, "parameters start uniform between minus and plus this value", low=1e-6, high=10.0)
    learning_rate: float = number(0.01, "learning rate of Adam", low=1e-8, high=1.0)
    batch_size: int = integer(5, "results per update", low=1, high=10_000)
    epochs: int = integer(4, "gradient steps per update", low=1, high=100)
    clip_ratio: float = number(
        0.2,
        "change of the probability ratio beyond which a result has no gradient",
        low=1e-3,
        high=10.0,
    )
    max_gradient_norm: float = number(1.0, "gradients with a larger norm are scaled to it", low=1e-6, high=1e9)
    entropy_weight: float = number(0.1, "weight of the policy's entropy, summed over decisions", low=0.0, high=100.0)
    advantage: str = choice(
        "ranked",
        "rewards are compared within their batch by rank (ranked) or by value (standardised), or with a moving "
        "average of earlier rewards (ema)",
        options=("ranked", "standardised", "ema"),
    )
    baseline_decay: float = number(0.95, "decay of the moving average; only for advantage ema", low=0.0, high=1.0)
    priority_queue_size: int = integer(
        5,
        "number of best proposals whose log-probability is raised in every update; 0 for none",
        low=0,
        high=MEMORY_SIZE,
    )
    priority_queue_weight: float = number(1.0, "weight of their mean log-probability", low=0.0, high=100.0)
    neighbour_rate: float = number(
        0.9,
        "probability that a proposal is a neighbour of the best instead of a sample of the policy; needs distinct",
        low=0.0,
        high=1.0,
    )
    distinct: bool = switch(True, "never propose what was proposed or told before")


PRESETS: Mapping[str, Mapping[str, object]] = {
    # For hundreds of evaluations; measured by experiments/benchmarks/search_quality.py.
    "tuned": {},
    # NASNet's settings (Zoph et al., 2018, appendix A), for thousands of evaluations. The paper gives neither
    # epochs nor clipping; those are PPO's usual ones.
    "paper": {
        "hidden_units": 100,
        "embedding_units": 100,
        "learning_rate": 3.5e-4,
        "batch_size": 20,
        "entropy_weight": 1e-5,
        "advantage": "ema",
        "priority_queue_size": 0,
        "neighbour_rate": 0.0,
        "distinct": False,
    },
}
"""Named changes to the defaults; the first is used if none is named."""


@dataclass(frozen=True)
class _Told:
    """A result that waits until its batch is full."""

    decisions: Decisions
    log_probability: float
    reward: float


class Ppo:
    """Samples proposals from an LSTM policy and improves it by PPO, one update per `batch_size` results.

    The defaults add three things to the paper; the preset `paper` switches them off. Proposals are distinct.
    Every update also raises the probability of the best proposals (priority queue training; Abolafia et al.,
    2018). A share `neighbour_rate` of the proposals are neighbours of the best one, chosen by a surrogate of the
    rewards (see `climb.py`); the policy learns from them as from its own samples.

    The search has converged once the neighbours of the best proposal are told. Then policy, queue and surrogate
    start again from nothing. Only the history remains, so that nothing is proposed twice. A proposal of an
    earlier climb that is told late counts only if it beats everything known at the restart.

    The state's keys `outstanding` and `pending` are those of version 0.1, so that its runs can be resumed: pending
    proposals are stored as `outstanding`, results that wait for their batch as `pending`.
    """

    def __init__(self, decision_sizes: tuple[int, ...], seed: int, hyperparameters: PpoHyperparameters) -> None:
        self._sizes = decision_sizes
        self._hyperparameters = hyperparameters
        self._identity = identity_entries("ppo", decision_sizes, asdict(hyperparameters))
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._history = History(decision_sizes)
        self._pending: dict[Decisions, list[float]] = {}
        """For each pending proposal, its log-probability when asked for; several if it was proposed repeatedly."""
        self._floors: dict[Decisions, float] = {}
        """For each pending proposal of an earlier climb, the reward that it must beat to count."""
        self._start()

    def _start(self) -> None:
        chosen = self._hyperparameters
        self._policy = LstmPolicy(
            self._sizes,
            hidden_units=chosen.hidden_units,
            embedding_units=chosen.embedding_units,
            init_scale=chosen.init_scale,
            generator=self._generator,
        )
        self._adam = AdamOptimizer(len(self._policy.parameters), chosen.learning_rate)
        self._climb = Climb(self._sizes)
        self._batch: list[_Told] = []
        """Results that wait until the batch is full."""
        self._baseline = 0.0
        self._updates = 0

    def ask(self, count: int) -> list[Decisions]:
        """Return `count` proposals; fewer if they are distinct and the space is used up."""
        count = check_count(count)
        if not self._hyperparameters.distinct:
            return self._record(sample(self._policy, np.ones(count), self._generator))
        proposals = []
        for _ in range(min(count, self._history.unseen_count)):
            if self._generator.random() < self._hyperparameters.neighbour_rate:
                proposals += self._record(self._promising_neighbour())
        count -= len(proposals)
        return proposals + self._record(sample_unseen(self._policy, count, self._history, self._generator))

    def _record(self, proposals: Sequence[Sample]) -> list[Decisions]:
        for proposal in proposals:
            self._pending.setdefault(proposal.decisions, []).append(proposal.log_probability)
        return [proposal.decisions for proposal in proposals]

    def _promising_neighbour(self) -> list[Sample]:
        neighbour, converged = self._climb.propose(self._history, self._pending)
        if converged:
            self._floors.update(dict.fromkeys(self._pending, self._climb.best[0].reward))
            self._start()
        if neighbour is None:
            return []
        self._history.add(neighbour)
        return [Sample(neighbour, log_probability(self._policy, neighbour))]

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float]) -> None:
        """Add results to the batch, and update the policy whenever it is full."""
        for decisions, reward in check_results(self._sizes, proposals, rewards):
            told = _Told(decisions, self._old_log_probability(decisions), reward)
            if self._hyperparameters.distinct:
                self._history.add(decisions)
            if reward <= self._floors.pop(decisions, -np.inf):
                continue
            self._climb.add(Result(decisions, reward))
            self._batch.append(told)
            if len(self._batch) == self._hyperparameters.batch_size:
                self._update()
                self._batch = []

    def _old_log_probability(self, decisions: Decisions) -> float:
        """Return the log-probability at the time of asking, or the present one of a foreign proposal."""
        asked = self._pending.get(decisions)
        if asked is None:
            return log_probability(self._policy, decisions)
        if len(asked) == 1:
            del self._pending[decisions]
        return asked.pop(0)

    def _update(self) -> None:
        chosen = self._hyperparameters
        terms = LossTerms(chosen.clip_ratio, chosen.entropy_weight, chosen.priority_queue_weight)
        elite = [result.decisions for result in self._climb.best[: chosen.priority_queue_size]]
        batch = PpoBatch(
            proposals=np.array([told.decisions for told in self._batch]),
            old_log_probabilities=np.array([told.log_probability for told in self._batch]),
            advantages=self._advantages(np.array([told.reward for told in self._batch])),
            elite=np.array(elite, dtype=np.int64).reshape(-1, len(self._sizes)),
        )
        for _ in range(chosen.epochs):
            _, gradient = loss_and_gradient(self._policy, batch, terms)
            clip_norm(gradient, chosen.max_gradient_norm)
            self._adam.update(self._policy.parameters, gradient)
        self._updates += 1

    def _advantages(self, rewards: Floats) -> Floats:
        if self._hyperparameters.advantage == "ranked":
            return standardised(normal_scores(rewards))
        if self._hyperparameters.advantage == "standardised":
            return standardised(rewards)
        baseline = self._baseline if self._updates else None
        advantages, self._baseline = above_moving_average(rewards, baseline, self._hyperparameters.baseline_decay)
        return advantages

    def state(self) -> dict[str, StateValue]:
        """Return parameters, optimizer, generator, and all results and proposals that are still used."""
        pending = [
            (decisions, log_probability)
            for decisions, log_probabilities in self._pending.items()
            for log_probability in log_probabilities
        ]
        return {
            **self._identity,
            "generator": generator_entry(self._generator),
            "parameters": self._policy.parameters.copy(),
            **self._adam.entries(),
            "updates": self._updates,
            "baseline": self._baseline,
            "seen": self._history.rows(),
            "outstanding": decisions_entry(self._sizes, [decisions for decisions, _ in pending]),
            "outstanding_log_probabilities": np.array([value for _, value in pending], dtype=np.float64),
            **results_entries("earlier", self._sizes, [Result(*pair) for pair in self._floors.items()]),
            "pending_log_probabilities": np.array([told.log_probability for told in self._batch], dtype=np.float64),
            **results_entries("pending", self._sizes, [Result(told.decisions, told.reward) for told in self._batch]),
            **self._climb.entries(),
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
        pending: dict[Decisions, list[float]] = {}
        proposals = read_decisions(state, "outstanding", self._sizes)
        values = read_floats(state, "outstanding_log_probabilities", len(proposals))
        for decisions, value in zip(proposals, values.tolist(), strict=True):
            pending.setdefault(decisions, []).append(value)
        earlier = read_results(state, "earlier", self._sizes)
        batch = read_results(state, "pending", self._sizes)
        if len(batch) >= self._hyperparameters.batch_size:
            raise ControllerError(f"the state has {len(batch)} pending results, which is a full batch; it is damaged")
        values = read_floats(state, "pending_log_probabilities", len(batch))
        climb = read_climb(state, self._sizes)
        self._policy.parameters[:] = parameters
        self._generator, self._adam, self._history, self._climb = generator, adam, history, climb
        self._updates, self._baseline = updates, baseline
        self._pending = pending
        self._floors = {result.decisions: result.reward for result in earlier}
        self._batch = [
            _Told(result.decisions, value, result.reward) for result, value in zip(batch, values.tolist(), strict=True)
        ]
