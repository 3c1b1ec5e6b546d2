from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from controllers import Controller, Decisions, create_controller
from controllers.policy.lstm import LstmPolicy
from controllers.reinforce import policy_gradient

SIZES = (3,) * 8
TABLE = np.random.default_rng(7).normal(size=(8, 3))


def additive_reward(decisions: Decisions) -> float:
    return float(TABLE[np.arange(8), decisions].sum())


def parameters(controller: Controller) -> NDArray[Any]:
    value = controller.state()["parameters"]
    assert isinstance(value, np.ndarray)
    return value


def test_the_mean_reward_rises() -> None:
    controller = create_controller("reinforce", SIZES, seed=0, distinct=False)
    means = []
    for _ in range(60):
        proposals = controller.ask(10)
        rewards = [additive_reward(proposal) for proposal in proposals]
        controller.tell(proposals, rewards)
        means.append(float(np.mean(rewards)))
    assert np.mean(means[-10:]) > np.mean(means[:10]) + 2.0


def test_the_gradient_is_that_of_the_expected_reward() -> None:
    sizes = (2, 3)
    policy = LstmPolicy(sizes, hidden_units=4, embedding_units=3, init_scale=0.7, generator=np.random.default_rng(1))
    space = np.array(list(product(range(2), range(3))))
    rewards = np.array([0.1, 0.9, 0.3, 0.5, 0.2, 0.8])

    def probabilities() -> NDArray[np.float64]:
        trace = policy.forward(space)
        values: NDArray[np.float64] = np.exp((trace.chosen * trace.log_probabilities).sum(axis=1))
        return values

    # Weighting every proposal by its probability takes the expectation over samples exactly.
    gradient = policy_gradient(policy, space, probabilities() * rewards * len(space), entropy_weight=0.0)
    step = 1e-6
    numeric = np.empty_like(gradient)
    for position, value in enumerate(policy.parameters.copy()):
        policy.parameters[position] = value + step
        above = float(probabilities() @ rewards)
        policy.parameters[position] = value - step
        numeric[position] = -(above - float(probabilities() @ rewards)) / (2 * step)
        policy.parameters[position] = value
    assert gradient == pytest.approx(numeric, abs=1e-8)


def test_the_entropy_weight_pulls_towards_uniform_choices() -> None:
    policy = LstmPolicy((4,), hidden_units=4, embedding_units=3, init_scale=0.1, generator=np.random.default_rng(1))
    policy.parameters[-4:] = [1.0, 0.0, 0.0, 0.0]
    gradient = policy_gradient(policy, np.array([[0]]), np.array([0.0]), entropy_weight=1.0)
    assert gradient[-4] > 0
    assert (gradient[-3:] < 0).all()


def test_the_policy_changes_when_a_batch_is_full_and_not_before() -> None:
    controller = create_controller("reinforce", SIZES, seed=0, batch_size=3, hidden_units=4)
    before = parameters(controller)
    proposals = controller.ask(3)
    controller.tell(proposals[:2], [1.0, 2.0])
    assert (parameters(controller) == before).all()
    controller.tell(proposals[2:], [4.0])
    assert (parameters(controller) != before).any()


def test_rewards_equal_to_the_baseline_teach_nothing() -> None:
    controller = create_controller("reinforce", SIZES, seed=0, batch_size=4)
    before = parameters(controller)
    controller.tell(controller.ask(4), [0.7] * 4)
    assert (parameters(controller) == before).all()


def test_the_baseline_follows_rewards_one_by_one() -> None:
    controller = create_controller("reinforce", (3, 3), seed=0, batch_size=2, baseline_decay=0.75)
    controller.tell(controller.ask(2), [1.0, 3.0])  # Starts at the first batch's mean, 2.
    baseline = controller.state()["baseline"]
    assert isinstance(baseline, float)
    assert math.isclose(baseline, 0.75 * (0.75 * 2.0 + 0.25 * 1.0) + 0.25 * 3.0)
