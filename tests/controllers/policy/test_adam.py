import numpy as np
import pytest

from controllers.policy.adam import AdamOptimizer


def test_the_first_step_has_the_length_of_the_learning_rate_against_the_gradients_sign() -> None:
    parameters = np.zeros(3)
    AdamOptimizer(3, learning_rate=0.1).update(parameters, np.array([5.0, -0.02, 0.0]))
    assert parameters == pytest.approx([-0.1, 0.1, 0.0], rel=1e-5)


def test_two_steps_follow_the_paper() -> None:
    parameters = np.array([1.0])
    adam = AdamOptimizer(1, learning_rate=0.5)
    adam.update(parameters, np.array([2.0]))
    adam.update(parameters, np.array([-1.0]))
    # Means .9 x .2 - .1 = .08 and .999 x .004 + .001 = .004996, corrected by 1 - .9^2 and 1 - .999^2.
    second = 0.5 * (0.08 / 0.19) / (0.004996 / 0.001999) ** 0.5
    assert parameters == pytest.approx([1.0 - 0.5 - second], rel=1e-7)


def test_a_quadratic_is_minimized() -> None:
    parameters = np.array([3.0, -2.0])
    target = np.array([1.0, 1.0])
    adam = AdamOptimizer(2, learning_rate=0.05)
    for _ in range(500):
        adam.update(parameters, 2 * (parameters - target))
    assert parameters == pytest.approx(target, abs=1e-3)
