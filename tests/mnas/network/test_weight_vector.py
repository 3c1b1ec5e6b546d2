"""A network with one vector of weights has the weights, by name, of one with a parameter for each."""

from typing import Any

import numpy as np
import pytest

from mnas.mindspore_setup import Compute, prepare_mindspore
from mnas.network.weights import initial_weights
from search_space import lower
from search_space.counting import ParameterSpec, parameters
from tests.mnas.ascend.graphs import EVERY_LAYER

NETWORK = lower(EVERY_LAYER, image_size=16, num_classes=10)
WEIGHTS = initial_weights(NETWORK, seed=0)


def module() -> Any:
    prepare_mindspore(Compute(threads=1))
    from mnas.network import weight_vector

    return weight_vector


def build(*, vector: bool) -> Any:
    prepare_mindspore(Compute(threads=1))
    from mnas.network.mindspore_cell import build_network

    return build_network(NETWORK, WEIGHTS, vector=vector)


def test_all_trained_weights_are_one_parameter() -> None:
    (vector,) = build(vector=True).trainable_params()
    assert vector.shape == (sum(spec.size for spec in parameters(NETWORK) if spec.trainable),)


@pytest.mark.parametrize("vector", [False, True])
def test_weights_and_statistics_keep_their_names_shapes_and_order(vector: bool) -> None:
    assert module().parameter_specs(build(vector=vector)) == parameters(NETWORK)


@pytest.mark.parametrize("vector", [False, True])
def test_weights_are_read_as_they_were_given(vector: bool) -> None:
    found = module().named_arrays(build(vector=vector))
    assert list(found) == [spec.name for spec in parameters(NETWORK)]
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_vector_is_split_into_what_was_joined() -> None:
    specs = [ParameterSpec("a", (2, 3)), ParameterSpec("b", (1,)), ParameterSpec("c", (4,))]
    arrays = {spec.name: np.random.default_rng(1).random(spec.shape, np.float32) for spec in specs}
    vector = module().join_vector(arrays, specs)
    np.testing.assert_array_equal(vector[6:7], arrays["b"])
    for name, part in module().split_vector(vector, specs).items():
        np.testing.assert_array_equal(part, arrays[name])
