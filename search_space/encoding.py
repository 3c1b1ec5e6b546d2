"""From an architecture back to the indices of a space: the inverse of decoding.

Several index tuples may decode to the same network: a regular convolution ignores the expansion, an identity skip has
no effect if shapes differ, a layer may belong to either of two blocks. The search below compares lowered layers, not
decisions, and tries index tuples in ascending order, so it returns the lowest of them. The indices of decisions that
blocks share come first: each of their combinations is tried in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from search_space.architecture import Architecture, Block
from search_space.block_choices import BlockChoices, DecisionName, op_and_expand
from search_space.errors import SpaceError
from search_space.lowering import Convolution, Unit, lower, unit_structure


def encode_blocks(
    choices: Sequence[BlockChoices], shared: Sequence[DecisionName], architecture: Architecture
) -> tuple[int, ...]:
    """Return the lowest indices, shared ones and then block after block, that decode to the network of `architecture`.

    Stem, head and activation are not compared.

    Args:
        choices: Those of each block.
        shared: The decisions that all blocks make together.
        architecture: The network.

    Raises:
        SpaceError: The architecture is outside the space; the message says which block, and why.
    """
    units = _body(architecture)
    structures = [unit_structure(unit) for unit in units]
    furthest = 0

    def search(
        fixed: Mapping[DecisionName, int], block_index: int, start: int, in_filters: int
    ) -> tuple[int, ...] | None:
        nonlocal furthest
        furthest = max(furthest, block_index)
        if block_index == len(choices):
            return () if start == len(units) else None
        if start == len(units):
            return None
        out_filters = _out_filters(units[start])
        for indices, layers in _matches(choices[block_index], fixed, structures[start:], in_filters, out_filters):
            rest = search(fixed, block_index + 1, start + layers, out_filters)
            if rest is not None:
                return indices + rest
        return None

    for together in product(*(range(max(len(block.choices(name)) for block in choices)) for name in shared)):
        found = search(dict(zip(shared, together, strict=True)), 0, 0, architecture.stem_filters)
        if found is not None:
            return together + found
    raise SpaceError(_why_outside(choices, shared, architecture, furthest))


def _matches(
    choices: BlockChoices,
    fixed: Mapping[DecisionName, int],
    structures: Sequence[object],
    in_filters: int,
    out_filters: int,
) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield, in ascending order, the indices of each block that equals the next layers, and its number of layers.

    The indices are those of the decisions that are not `fixed`.
    """
    if out_filters not in choices.filters:
        return
    names = choices.decisions()
    ranges: dict[DecisionName, Sequence[int]] = {name: range(len(choices.choices(name))) for name in names}
    ranges |= {name: (index,) for name, index in fixed.items() if name in names}
    if "filters" in names:
        index = choices.filters.index(out_filters)
        if index not in ranges["filters"]:
            return
        ranges["filters"] = (index,)
    # `layers` is the last decision, and all layers of a block after the first are equal: two layers show them all.
    layer_indices = ranges.pop("layers", (0,))
    for indices in product(*ranges.values()):
        index_of = dict(zip(ranges, indices, strict=True))
        first, repeated = _layer_structures(choices.block(index_of | {"layers": 0}, in_filters))
        if structures[0] != first:
            continue
        for layer_index in layer_indices:
            layers = choices.layers[layer_index]
            following = structures[1:layers]
            if len(following) == layers - 1 and all(structure == repeated for structure in following):
                whole = index_of | {"layers": layer_index}
                yield tuple(whole[name] for name in names if name not in fixed), layers


def _layer_structures(block: Block) -> tuple[object, object]:
    units = _body(Architecture((replace(block, layers=2),), stem_filters=block.in_filters))
    return unit_structure(units[0]), unit_structure(units[1])


def _body(architecture: Architecture) -> tuple[Unit, ...]:
    # Without the stem, the head and the classifier.
    return lower(architecture).units[1:-2]


def _out_filters(unit: Unit) -> int:
    return next(layer.out_channels for layer in reversed(unit.body) if isinstance(layer, Convolution))


def _why_outside(
    choices: Sequence[BlockChoices], shared: Sequence[DecisionName], architecture: Architecture, furthest: int
) -> str:
    if len(architecture.blocks) != len(choices):
        return f"the architecture has {len(architecture.blocks)} blocks; the space has {len(choices)}"
    index = min(furthest, len(choices) - 1)
    allowed, block = choices[index], architecture.blocks[index]
    ops = {op_and_expand(op, expand): None for op in allowed.op for expand in allowed.expand or (1,)}
    if (block.op, block.expand) not in ops:
        listed = ", ".join(f"{op} with expand {expand}" for op, expand in ops)
        return f"blocks[{index}]: {block.op} with expand {block.expand} is outside the space; it has {listed}"
    if block.stride != allowed.stride:
        return f"blocks[{index}]: stride {block.stride} is outside the space; it is {allowed.stride} there"
    values = {
        "kernel": block.kernel,
        "se_ratio": block.se_ratio,
        "skip": block.skip,
        "filters": block.out_filters,
        "layers": block.layers,
    }
    for name, value in values.items():
        listed = ", ".join(str(choice) for choice in allowed.choices(name))
        if value not in allowed.choices(name):
            return f"blocks[{index}]: {name} {value} is outside the space; it has {listed}"
    together = f"; all blocks share the choice of {', '.join(shared)}" if shared else ""
    return f"blocks[{index}]: no combination of the space's choices gives its layers{together}"
