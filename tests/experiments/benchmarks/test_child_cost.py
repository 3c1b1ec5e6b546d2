"""The comparison of children: the peers train the same networks, and medians are taken of the right runs."""

from math import prod

import numpy as np
import pytest

from experiments.benchmarks import child_cost
from experiments.benchmarks.child_cost import ChildRun, mean_cost, medians
from mnas.mindspore_setup import prepare_mindspore
from mnas.training.phases import PhaseTime
from search_space import SearchSpace, cost, lower
from search_space.lowering import LoweredNetwork


def run(child: str, wall_s: float, train_s: float) -> ChildRun:
    return ChildRun(child, "mnas", 0, PhaseTime(wall_s, 2 * wall_s), {"train": PhaseTime(train_s, train_s)})


RUNS = [run("a", 1.0, 0.5), run("a", 2.0, 0.6), run("a", 9.0, 0.7), run("b", 4.0, 3.0)]


def random_networks() -> list[LoweredNetwork]:
    space = SearchSpace.load("small32")
    architectures = [space.decode(space.sample(np.random.default_rng(seed))) for seed in range(4)]
    return [lower(architecture, image_size=32, num_classes=10) for architecture in architectures]


def test_a_child_counts_by_its_median_round() -> None:
    assert medians(RUNS, lambda run: run.whole.wall_s) == {("a", "mnas"): 2.0, ("b", "mnas"): 4.0}


def test_every_child_has_the_same_share_of_the_mean() -> None:
    assert mean_cost(RUNS, None) == PhaseTime(3.0, 6.0)
    assert mean_cost(RUNS, "train").wall_s == pytest.approx((0.6 + 3.0) / 2)


def test_the_a1_like_child_is_the_one_of_the_measurements() -> None:
    network = lower(child_cost.A1_LIKE, image_size=32, num_classes=10)
    assert cost(network).trainable_params == 308_238


def test_the_plain_mindspore_networks_have_the_parameters_of_ours() -> None:
    prepare_mindspore()
    from experiments.benchmarks.plain_mindspore_network import plain_network

    for network in random_networks():
        cell = plain_network(network, norm_momentum=0.9)
        assert sum(prod(parameter.shape) for parameter in cell.trainable_params()) == cost(network).trainable_params


def test_the_pytorch_networks_have_the_parameters_and_outputs_of_ours() -> None:
    torch = pytest.importorskip("torch")
    from experiments.benchmarks.pytorch_child import build_module

    for network in random_networks():
        module = build_module(network, norm_momentum=0.9)
        assert sum(parameter.numel() for parameter in module.parameters()) == cost(network).trainable_params
        assert module(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
