"""The compiled networks have every choice of every bundled space."""

from typing import get_args

import pytest

from search_space import SearchSpace, lower
from search_space.lowering import FitChannels, Layer
from tests.mnas.ascend.graphs import CHILDREN, EVERY_LAYER, covering_decisions, covering_networks


def test_every_bundled_space_is_compiled() -> None:
    # The networks of a space with shared decisions are networks of the space without; tests/search_space holds it.
    assert set(CHILDREN) == {name for name in SearchSpace.names() if not SearchSpace.load(name).shared}


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


def test_one_network_has_every_kind_of_layer() -> None:
    layers = list(lower(EVERY_LAYER).layers())
    assert {type(layer) for layer in layers} == set(get_args(Layer))
    fits = [layer for layer in layers if isinstance(layer, FitChannels)]
    assert {layer.out_channels > layer.in_channels for layer in fits} == {True, False}
