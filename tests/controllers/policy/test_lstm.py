from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from controllers.arrays import DecisionArray, Floats
from controllers.policy.lstm import LstmPolicy

SIZES = (2, 3, 1, 4)
SPACE = np.array(list(product(*(range(size) for size in SIZES))))


def make_policy(sizes: tuple[int, ...] = SIZES, init_scale: float = 0.8) -> LstmPolicy:
    generator = np.random.default_rng(1)
    return LstmPolicy(sizes, hidden_units=5, embedding_units=3, init_scale=init_scale, generator=generator)


def log_probabilities(policy: LstmPolicy, proposals: DecisionArray) -> Floats:
    trace = policy.forward(proposals)
    total: Floats = (trace.chosen * trace.log_probabilities).sum(axis=1)
    return total


def test_parameters_start_uniform_within_the_scale() -> None:
    policy = make_policy((3,) * 40, init_scale=0.1)
    assert np.abs(policy.parameters).max() <= 0.1
    assert policy.parameters.std() == pytest.approx(0.1 / 3**0.5, rel=0.05)


def test_probabilities_of_all_proposals_sum_to_one() -> None:
    assert np.exp(log_probabilities(make_policy(), SPACE)).sum() == pytest.approx(1.0, rel=1e-12)


def test_a_choice_depends_on_the_choices_before_it_and_not_on_those_after() -> None:
    policy = make_policy()
    first, second = policy.forward(np.array([[0, 1, 0, 2], [1, 1, 0, 2]])).log_probabilities
    assert (first[:2] == second[:2]).all()
    assert (first[2:5] != second[2:5]).all()
    other = policy.forward(np.array([[0, 1, 0, 3], [0, 1, 0, 0]])).log_probabilities
    assert other[0] == pytest.approx(first, rel=1e-12)


def test_samples_are_as_frequent_as_their_probability() -> None:
    policy = make_policy()
    draws = 20_000
    samples, _ = policy.sample(np.ones(draws), np.random.default_rng(0))
    counts = (samples[:, None] == SPACE).all(axis=2).sum(axis=0)
    expected = draws * np.exp(log_probabilities(policy, SPACE))
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 49.7  # 0.1% of fair samples exceed it at 23 degrees of freedom.


def test_a_high_temperature_samples_uniformly_and_a_low_one_the_likeliest() -> None:
    policy = make_policy((4,), init_scale=2.0)
    policy.parameters[-4:] += [0, 3, 0, 0]
    draws, generator = 4000, np.random.default_rng(0)
    hot, _ = policy.sample(np.full(draws, 1e6), generator)
    cold, _ = policy.sample(np.full(draws, 1e-3), generator)
    assert np.abs(np.bincount(hot[:, 0]) / draws - 0.25).max() < 0.03
    likeliest = policy.forward(np.array([[0]])).log_probabilities[0].argmax()
    assert (cold == likeliest).all()


def test_samples_come_with_the_log_probability_of_the_policy_at_any_temperature() -> None:
    policy = make_policy()
    samples, values = policy.sample(np.geomspace(0.5, 9, 50), np.random.default_rng(0))
    assert values == pytest.approx(log_probabilities(policy, samples), rel=1e-12)


def test_huge_logits_do_not_overflow() -> None:
    policy = make_policy()
    policy.parameters *= 1e6
    samples, values = policy.sample(np.ones(20), np.random.default_rng(0))
    assert np.isfinite(values).all()
    assert np.isfinite(log_probabilities(policy, samples)).all()


@pytest.mark.parametrize("sizes", [SIZES, (3,), (1, 1), (2, 5, 3, 1, 4, 2)], ids=str)
def test_the_gradient_equals_finite_differences(sizes: tuple[int, ...]) -> None:
    policy = make_policy(sizes)
    proposals, _ = policy.sample(np.ones(4), np.random.default_rng(0))
    weights = np.random.default_rng(2).normal(size=(4, sum(sizes)))

    def loss() -> float:
        return float((weights * policy.forward(proposals).log_probabilities).sum())

    trace = policy.forward(proposals)
    logit_gradient = weights - np.exp(trace.log_probabilities) * policy.spread(policy.sum_choices(weights))
    gradient = policy.backward(trace, logit_gradient)
    step = 1e-5
    numeric = np.empty_like(gradient)
    for position, value in enumerate(policy.parameters.copy()):
        policy.parameters[position] = value + step
        above = loss()
        policy.parameters[position] = value - step
        numeric[position] = (above - loss()) / (2 * step)
        policy.parameters[position] = value
    assert np.linalg.norm(gradient - numeric) <= 1e-6 * np.linalg.norm(numeric)
