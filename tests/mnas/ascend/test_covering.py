"""The compiled networks have every choice of every bundled space."""

import pytest

from search_space import SearchSpace, lower
from search_space.lowering import Layer
from tests.mnas.ascend.graphs import CHILDREN, covering_decisions, covering_networks


def test_every_bundled_space_is_compiled() -> None:
    assert set(CHILDREN) == set(SearchSpace.names())


@pytest.mark.parametrize("name", SearchSpace.names())
def test_every_choice_of_every_decision_is_taken(name: str) -> None:
    sizes = SearchSpace.load(name).decision_sizes
    taken = [set(choices) for choices in zip(*covering_decisions(sizes), strict=True)]
    assert taken == [set(range(size)) for size in sizes]


@pytest.mark.parametrize("name", ["mnasnet", "small32", "tiny16"])
def test_every_choice_reaches_the_layers(name: str) -> None:
    blocks = [block for architecture in covering_networks(name).values() for block in architecture.blocks]
    assert {(block.op, block.expand) for block in blocks} == {("conv", 1), ("mbconv", 1), ("mbconv", 3), ("mbconv", 6)}
    assert {block.skip for block in blocks} == {"pool", "identity", "none"}


def test_every_kind_of_layer_is_compiled() -> None:
    networks = [lower(each) for name in SearchSpace.names() for each in covering_networks(name).values()]
    assert {type(layer) for network in networks for layer in network.layers()} == set(Layer.__args__)
