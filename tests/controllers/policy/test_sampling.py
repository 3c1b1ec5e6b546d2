from __future__ import annotations

import numpy as np
import pytest

from controllers.history import History
from controllers.policy.lstm import LstmPolicy
from controllers.policy.sampling import log_probability, sample, sample_unseen

SIZES = (3, 2, 4)


@pytest.fixture
def policy() -> LstmPolicy:
    generator = np.random.default_rng(1)
    return LstmPolicy(SIZES, hidden_units=5, embedding_units=3, init_scale=0.7, generator=generator)


def test_samples_carry_their_log_probability(policy: LstmPolicy) -> None:
    for drawn in sample(policy, np.ones(8), np.random.default_rng(0)):
        assert drawn.log_probability == pytest.approx(log_probability(policy, drawn.decisions))


def test_unseen_samples_are_distinct_and_join_the_history(policy: LstmPolicy) -> None:
    history = History(SIZES)
    history.add((0, 0, 0))
    drawn = [one.decisions for one in sample_unseen(policy, 10, history, np.random.default_rng(0))]
    assert len({*drawn, (0, 0, 0)}) == 11
    assert all(decisions in history for decisions in drawn)


def test_a_policy_that_is_certain_still_gives_every_proposal_of_the_space(policy: LstmPolicy) -> None:
    policy.parameters[-4:] += [1e6, 0.0, 0.0, 0.0]  # The head's bias of the last decision.
    history = History(SIZES)
    drawn = sample_unseen(policy, 100, history, np.random.default_rng(0))
    assert len({one.decisions for one in drawn}) == 24
    assert history.unseen_count == 0
    assert all(one.log_probability == pytest.approx(log_probability(policy, one.decisions)) for one in drawn)
