from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from controllers.arrays import Floats
from controllers.policy.lstm import LstmPolicy
from controllers.policy.ppo_loss import MAX_LOG_RATIO, LossTerms, PpoBatch, loss_and_gradient

SIZES = (2, 3, 1, 4)
SURROGATE = LossTerms(clip_ratio=0.2, entropy_weight=0.0, priority_queue_weight=0.0)
# Both signs of the advantage with ratios below, within and above the clipping range.
LOG_RATIOS = np.array([-0.5, -0.5, 0.1, -0.1, 0.5, 0.5])
ADVANTAGES = np.array([1.0, -1.0, 2.0, -0.3, 1.5, -0.7])
NO_ELITE = np.empty((0, len(SIZES)), dtype=np.int64)


@pytest.fixture
def policy() -> LstmPolicy:
    generator = np.random.default_rng(1)
    return LstmPolicy(SIZES, hidden_units=5, embedding_units=3, init_scale=0.7, generator=generator)


@pytest.fixture
def batch(policy: LstmPolicy) -> PpoBatch:
    proposals, log_probabilities = policy.sample(np.ones(6), np.random.default_rng(2))
    elite, _ = policy.sample(np.ones(3), np.random.default_rng(3))
    return PpoBatch(proposals, log_probabilities - LOG_RATIOS, ADVANTAGES, elite)


def numeric_gradient(policy: LstmPolicy, batch: PpoBatch, terms: LossTerms) -> Floats:
    step = 1e-5
    numeric = np.empty_like(policy.parameters)
    for position, value in enumerate(policy.parameters.copy()):
        policy.parameters[position] = value + step
        above, _ = loss_and_gradient(policy, batch, terms)
        policy.parameters[position] = value - step
        below, _ = loss_and_gradient(policy, batch, terms)
        numeric[position] = (above - below) / (2 * step)
        policy.parameters[position] = value
    return numeric


@pytest.mark.parametrize(
    "terms",
    [
        SURROGATE,
        replace(SURROGATE, clip_ratio=10.0),
        replace(SURROGATE, entropy_weight=0.3),
        replace(SURROGATE, priority_queue_weight=1.0),
        LossTerms(clip_ratio=0.2, entropy_weight=0.3, priority_queue_weight=1.0),
    ],
    ids=["clip active", "clip inactive", "entropy", "priority queue", "all"],
)
def test_the_gradient_equals_finite_differences(policy: LstmPolicy, batch: PpoBatch, terms: LossTerms) -> None:
    _, gradient = loss_and_gradient(policy, batch, terms)
    numeric = numeric_gradient(policy, batch, terms)
    assert np.linalg.norm(gradient - numeric) <= 1e-6 * np.linalg.norm(numeric)


def test_the_surrogate_is_the_clipped_one_of_the_paper(policy: LstmPolicy, batch: PpoBatch) -> None:
    loss, _ = loss_and_gradient(policy, batch, SURROGATE)
    expected = [
        min(math.exp(log_ratio) * advantage, min(max(math.exp(log_ratio), 0.8), 1.2) * advantage)
        for log_ratio, advantage in zip(LOG_RATIOS, ADVANTAGES, strict=True)
    ]
    assert loss == pytest.approx(-sum(expected) / 6, rel=1e-12)


def test_clipped_results_have_no_gradient(policy: LstmPolicy, batch: PpoBatch) -> None:
    clipped = [1, 4]  # Less likely than before although bad, more likely although good.
    only_clipped = PpoBatch(
        batch.proposals[clipped],
        batch.old_log_probabilities[clipped],
        batch.advantages[clipped],
        NO_ELITE,
    )
    _, gradient = loss_and_gradient(policy, only_clipped, SURROGATE)
    assert not gradient.any()


def test_the_entropy_of_a_uniform_policy_is_the_log_of_the_number_of_proposals(
    policy: LstmPolicy, batch: PpoBatch
) -> None:
    policy.parameters[:] = 0.0
    neutral = replace(batch, advantages=np.zeros(6))
    loss, _ = loss_and_gradient(policy, neutral, replace(SURROGATE, entropy_weight=0.5))
    assert loss == pytest.approx(-0.5 * math.log(math.prod(SIZES)), rel=1e-12)


def test_the_priority_queue_term_is_the_mean_log_probability_of_the_elite(policy: LstmPolicy, batch: PpoBatch) -> None:
    policy.parameters[:] = 0.0
    neutral = replace(batch, advantages=np.zeros(6))
    loss, _ = loss_and_gradient(policy, neutral, replace(SURROGATE, priority_queue_weight=2.0))
    assert loss == pytest.approx(2.0 * math.log(math.prod(SIZES)), rel=1e-12)


def test_an_empty_elite_adds_nothing(policy: LstmPolicy, batch: PpoBatch) -> None:
    alone = replace(batch, elite=NO_ELITE)
    with_queue = loss_and_gradient(policy, alone, replace(SURROGATE, priority_queue_weight=1.0))
    without = loss_and_gradient(policy, alone, SURROGATE)
    assert with_queue[0] == without[0]
    assert (with_queue[1] == without[1]).all()


def test_ratios_beyond_the_clamp_neither_overflow_nor_have_a_gradient(policy: LstmPolicy, batch: PpoBatch) -> None:
    far = replace(
        batch,
        old_log_probabilities=np.full(6, -1e4),
        advantages=np.full(6, -1.0),
        elite=NO_ELITE,
    )
    loss, gradient = loss_and_gradient(policy, far, SURROGATE)
    assert loss == pytest.approx(math.exp(MAX_LOG_RATIO))
    assert not gradient.any()
