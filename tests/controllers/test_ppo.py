from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from controllers import Controller, Decisions, create_controller
from controllers.ppo import PRESETS, PpoHyperparameters

SIZES = (3,) * 12
TABLE = np.random.default_rng(7).normal(size=(12, 3))


def additive_reward(decisions: Decisions) -> float:
    return float(TABLE[np.arange(12), decisions].sum())


def best_after(controller: Controller, trials: int) -> float:
    best = -np.inf
    for _ in range(trials // 5):
        proposals = controller.ask(5)
        rewards = [additive_reward(proposal) for proposal in proposals]
        controller.tell(proposals, rewards)
        best = max(best, *rewards)
    return best


def parameters(controller: Controller) -> NDArray[Any]:
    value = controller.state()["parameters"]
    assert isinstance(value, np.ndarray)
    return value


def test_the_tuned_preset_finds_much_more_than_random_search() -> None:
    optimum, trials, seeds = TABLE.max(axis=1).sum(), 150, range(3)
    ppo_gap = mean(
        optimum - best_after(create_controller("ppo", SIZES, seed=seed, hidden_units=32), trials) for seed in seeds
    )
    random_gap = mean(optimum - best_after(create_controller("random", SIZES, seed=seed), trials) for seed in seeds)
    assert ppo_gap < 0.25 * random_gap


def test_the_mean_reward_rises_under_the_papers_loss() -> None:
    # The preset's learning rate needs thousands of trials; the loss is the same.
    controller = create_controller("ppo", SIZES, seed=0, preset="paper", learning_rate=0.01, hidden_units=32)
    means = []
    for _ in range(40):
        proposals = controller.ask(20)
        rewards = [additive_reward(proposal) for proposal in proposals]
        controller.tell(proposals, rewards)
        means.append(mean(rewards))
    assert mean(means[-5:]) > mean(means[:5]) + 3.0


def test_the_paper_preset_has_the_published_settings() -> None:
    state = create_controller("ppo", (2, 2), seed=0, preset="paper").state()
    published = {
        "hidden_units": 100,
        "init_scale": 0.1,
        "learning_rate": 3.5e-4,
        "entropy_weight": 1e-5,
        "advantage": "ema",
        "baseline_decay": 0.95,
        "batch_size": 20,
        "priority_queue_size": 0,
        "neighbour_rate": 0.0,
        "distinct": False,
    }
    assert {name: state[f"hyperparameter_{name}"] for name in published} == published


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_change_known_hyperparameters_only(preset: str) -> None:
    assert PRESETS[preset].keys() <= {field.name for field in fields(PpoHyperparameters)}


def test_the_policy_changes_when_a_batch_is_full_and_not_before() -> None:
    controller = create_controller("ppo", SIZES, seed=0, batch_size=4, hidden_units=4)
    proposals = controller.ask(5)
    before = parameters(controller)
    for count, proposal in enumerate(proposals[:4], start=1):
        assert (parameters(controller) == before).all(), count
        controller.tell([proposal], [additive_reward(proposal)])
    after = parameters(controller)
    assert (after != before).any()
    controller.tell([proposals[4]], [1.0])
    assert (parameters(controller) == after).all()


def test_old_log_probabilities_are_those_at_the_time_of_asking() -> None:
    controller = create_controller("ppo", SIZES, seed=0, batch_size=4, hidden_units=4)
    proposals = controller.ask(5)
    asked = controller.state()["outstanding_log_probabilities"]
    controller.tell(proposals[:4], [1.0, 2.0, 3.0, 4.0])  # An update, then a late result.
    controller.tell(proposals[4:], [0.0])
    told = controller.state()["pending_log_probabilities"]
    assert isinstance(asked, np.ndarray)
    assert isinstance(told, np.ndarray)
    assert told.tolist() == asked[4:].tolist()


def test_the_log_probability_of_a_foreign_proposal_is_the_present_one() -> None:
    controller = create_controller("ppo", (2,) * 3, seed=0, init_scale=1e-6)
    controller.tell([(0, 1, 0)], [1.0])
    value = controller.state()["pending_log_probabilities"]
    assert isinstance(value, np.ndarray)
    assert value == pytest.approx([3 * np.log(0.5)], rel=1e-5)


def test_the_priority_queue_keeps_the_best_in_order_and_each_proposal_once() -> None:
    controller = create_controller("ppo", (9,), seed=0)
    controller.tell([(0,), (1,), (2,), (3,), (0,), (4,), (4,)], [0.1, 0.5, 0.3, 0.3, 0.4, 0.9, 0.2])
    state = controller.state()
    elite, rewards = state["best"], state["best_rewards"]
    assert isinstance(elite, np.ndarray)
    assert isinstance(rewards, np.ndarray)
    assert elite.tolist() == [[4], [1], [0], [2], [3]]
    assert rewards.tolist() == [0.9, 0.5, 0.4, 0.3, 0.3]


def test_standardised_advantages_ignore_shift_and_scale_of_rewards() -> None:
    plain, moved = (
        create_controller("ppo", SIZES, seed=0, batch_size=5, hidden_units=4, advantage="standardised")
        for _ in range(2)
    )
    proposals = plain.ask(5)
    moved.ask(5)
    rewards = [additive_reward(proposal) for proposal in proposals]
    plain.tell(proposals, rewards)
    moved.tell(proposals, [100.0 + 5.0 * reward for reward in rewards])
    assert parameters(moved) == pytest.approx(parameters(plain), abs=1e-5)


def test_equal_rewards_teach_nothing_without_entropy_and_queue() -> None:
    controller = create_controller("ppo", SIZES, seed=0, batch_size=4, entropy_weight=0.0, priority_queue_weight=0.0)
    before = parameters(controller)
    controller.tell(controller.ask(4), [0.7] * 4)
    assert (parameters(controller) == before).all()


def test_the_moving_average_follows_rewards_one_by_one() -> None:
    controller = create_controller("ppo", (3, 3), seed=0, preset="paper", batch_size=2, baseline_decay=0.75)
    controller.tell(controller.ask(2), [1.0, 3.0])  # Starts at the first batch's mean, 2.
    assert controller.state()["baseline"] == pytest.approx(0.75 * (0.75 * 2.0 + 0.25 * 1.0) + 0.25 * 3.0)


def test_the_state_does_not_depend_on_the_number_of_blas_threads() -> None:
    script = (
        "import hashlib, controllers\n"
        "controller = controllers.create_controller('ppo', (3,) * 40, seed=0)\n"
        "for _ in range(3):\n"
        "    proposals = controller.ask(15)\n"
        "    controller.tell(proposals, [float(sum(proposal)) for proposal in proposals])\n"
        "print(hashlib.sha256(controllers.state_to_bytes(controller.state())).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1


def test_a_converged_policy_proposes_neighbours_of_the_best() -> None:
    controller = create_controller("ppo", SIZES, seed=0, hidden_units=32, entropy_weight=0.0, priority_queue_size=1)
    favourite = (0,) * 12
    for _ in range(30):
        controller.tell([favourite] * 10, [1.0] * 10)
    proposals = controller.ask(20)
    assert len(set(proposals)) == 20
    assert mean(np.count_nonzero(proposal) for proposal in proposals) < 5  # Uniform draws differ in 8 places.


def distance(one: Decisions, other: Decisions) -> int:
    return int(np.count_nonzero(np.array(one) != np.array(other)))


def climber(neighbour_rate: float = 1.0) -> tuple[Controller, Decisions]:
    """A controller that has been told ten results, and the best of them."""
    controller = create_controller("ppo", SIZES, seed=0, hidden_units=4, neighbour_rate=neighbour_rate)
    proposals = controller.ask(10)
    controller.tell(proposals, [additive_reward(proposal) for proposal in proposals])
    return controller, max(proposals, key=additive_reward)


def test_neighbours_of_the_best_are_proposed_at_their_rate() -> None:
    always, best = climber(1.0)
    assert all(distance(proposal, best) == 1 for proposal in always.ask(20))
    never, best = climber(0.0)
    assert all(distance(proposal, best) > 1 for proposal in never.ask(20))
    sometimes, best = climber(0.5)
    assert 3 <= sum(distance(proposal, best) == 1 for proposal in sometimes.ask(20)) <= 17


def test_a_neighbour_has_the_log_probability_of_the_policy_when_it_was_proposed() -> None:
    controller, _ = climber()
    controller.ask(1)
    pending = controller.state()["outstanding_log_probabilities"]
    assert isinstance(pending, np.ndarray)
    assert pending == pytest.approx(-12 * np.log(3), rel=0.1)  # After two updates it is still near uniform.


def converged() -> tuple[Controller, Decisions, float]:
    """A controller whose next proposal makes it start again while one is pending, that one, and the best reward."""
    controller, best = climber()
    (late,) = controller.ask(1)
    around = [
        (*best[:decision], choice, *best[decision + 1 :])
        for decision in range(12)
        for choice in range(3)
        if choice != best[decision]
    ]
    best_reward = additive_reward(best)
    controller.tell([neighbour for neighbour in around if neighbour != late], [best_reward - 0.1] * 23)
    return controller, late, best_reward


def test_a_climb_that_has_converged_starts_again() -> None:
    controller, _, _ = converged()
    controller.ask(1)
    state = controller.state()
    assert state["updates"] == state["adam_steps"] == 0
    assert isinstance(state["best"], np.ndarray)
    assert isinstance(state["seen"], np.ndarray)
    assert len(state["best"]) == 0
    assert len(state["seen"]) == 10 + 24 + 1


@pytest.mark.parametrize(("lead", "counted"), [(-0.1, 0), (0.0, 0), (0.1, 1)])
def test_a_late_result_of_an_earlier_climb_counts_only_if_it_beats_it(lead: float, counted: int) -> None:
    controller, late, best_reward = converged()
    controller.ask(1)
    controller.tell([late], [best_reward + lead])
    latest = controller.state()["latest"]
    assert isinstance(latest, np.ndarray)
    assert len(latest) == counted
