from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnas.documents.errors import DocumentError
from mnas.documents.yaml_file import parse
from search_space import Architecture, SearchSpace, SpaceError, cost, fingerprint, lower, parse_block, reference

HEADER = "{name: test, image_size: 32, stem_filters: 16, stem_stride: 1, head_filters: 64, blocks: "
# Expand acts on mbconv only; identity and none differ only if there is a second layer or a residual at the first.
EFFECTLESS = "[{stride: 2, op: [conv, mbconv], expand: [1, 3], skip: [identity, none], filters: [16], layers: [1, 2]}]}"
# The second block has the filters of the first: a layer may belong to either.
REGROUPED = (
    "[{stride: 1, op: [conv], filters: [16], layers: [1, 2]}, "
    "{stride: 1, op: [conv, dconv], filters: [16, 8], layers: [1, 2]}]}"
)
# The blocks share op, expand and kernel. The first block has one op, the second one expansion; filters and layers are
# each block's own. The expansion acts on mbconv only.
SHARED = (
    "[{stride: 1, op: [dconv], kernel: [3, 5], filters: [8, 16], layers: [1]}, "
    "{stride: 2, op: [mbconv, conv], expand: [6], kernel: [3, 5], filters: [16], layers: [1, 2]}, "
    "{stride: 1, op: [mbconv, conv], expand: [1, 3], kernel: [5, 3], filters: [16], layers: [1, 2]}]"
    ", shared: [op, expand, kernel]}"
)
SPACES = st.sampled_from(
    [SearchSpace.load(name) for name in SearchSpace.names()]
    + [parse(HEADER + SHARED, SearchSpace, source="space.yaml")]
)


def space_of(blocks: str) -> SearchSpace:
    return parse(HEADER + blocks, SearchSpace, source="space.yaml")


def some_indices(space: SearchSpace, seed: int) -> tuple[int, ...]:
    return space.sample(np.random.default_rng(seed))


def test_bundled_spaces() -> None:
    assert SearchSpace.names() == ("mnasnet", "mnasnet_cell", "mnasnet_google", "small32", "small32_cell", "tiny16")


@pytest.mark.parametrize("name", SearchSpace.names())
def test_a_bundled_space_is_called_as_its_file(name: str) -> None:
    assert SearchSpace.load(name).name == name


@pytest.mark.parametrize(
    ("name", "cardinality"),
    [
        ("mnasnet", 432**5 * 288**2),
        ("mnasnet_cell", 432),
        ("mnasnet_google", 216**5 * 144**2),
        ("small32", 8 * 192**4),
        ("small32_cell", 192),
        ("tiny16", 288 * 192**2),
    ],
)
def test_cardinality(name: str, cardinality: int) -> None:
    space = SearchSpace.load(name)
    assert space.cardinality == cardinality
    assert len(space.decision_sizes) == len(space.decisions)


@pytest.mark.parametrize(("name", "networks"), [("mnasnet_cell", 432), ("small32_cell", 160)])
def test_the_networks_of_a_cell_space_are_counted(name: str, networks: int) -> None:
    space = SearchSpace.load(name)
    everything = product(*map(range, space.decision_sizes))
    assert len({fingerprint(space.decode(indices)) for indices in everything}) == networks


def test_mnasnet_is_built_around_mobilenet_v2() -> None:
    space = SearchSpace.load("mnasnet")
    widths, depths, strides = (16, 24, 32, 64, 96, 160, 320), (1, 2, 3, 4, 3, 3, 1), (1, 2, 2, 2, 1, 2, 1)
    for block, width, depth, stride in zip(space.blocks, widths, depths, strides, strict=True):
        assert [filters / width for filters in block.filters] == [0.75, 1, 1.25]
        assert block.layers == ((1, 2) if depth == 1 else (depth - 1, depth, depth + 1))
        assert block.stride == stride
        assert block.op == ("conv", "dconv", "mbconv3", "mbconv6")
        assert (block.kernel, block.se_ratio, block.skip) == ((3, 5), (0, 0.25), ("pool", "identity", "none"))


def test_mnasnet_contains_mobilenet_v2_except_its_first_block_and_activation() -> None:
    space, mobilenet = SearchSpace.load("mnasnet"), reference("mobilenet-v2").architecture
    indices = space.encode(replace(mobilenet, activation="relu"))
    assert fingerprint(space.decode(indices)) == fingerprint(replace(mobilenet, activation="relu"))


@pytest.mark.parametrize(
    ("name", "least_millions", "most_millions"), [("small32", 2, 25), ("tiny16", 0.2, 3), ("mnasnet", 100, 1000)]
)
def test_sampled_networks_have_the_size_the_space_is_made_for(
    name: str, least_millions: float, most_millions: float
) -> None:
    space, rng = SearchSpace.load(name), np.random.default_rng(0)
    networks = [lower(space.decode(space.sample(rng)), image_size=space.image_size) for _ in range(100)]
    millions = [cost(network).multiply_adds / 1e6 for network in networks]
    assert min(millions) > least_millions
    assert max(millions) < most_millions


@settings(max_examples=60)
@given(SPACES, st.integers(0, 2**32))
def test_encoding_a_decoded_architecture_gives_the_lowest_indices_of_the_same_network(
    space: SearchSpace, seed: int
) -> None:
    indices = some_indices(space, seed)
    architecture = space.decode(indices)
    encoded = space.encode(architecture)
    assert encoded <= indices
    assert fingerprint(space.decode(encoded)) == fingerprint(architecture)
    assert space.encode(space.decode(encoded)) == encoded


@pytest.mark.parametrize("blocks", [EFFECTLESS, REGROUPED, SHARED])
def test_encoding_is_the_lowest_of_all_indices_with_the_same_fingerprint(blocks: str) -> None:
    space = space_of(blocks)
    lowest: dict[str, tuple[int, ...]] = {}
    everything = list(product(*map(range, space.decision_sizes)))
    for indices in everything:
        lowest.setdefault(fingerprint(space.decode(indices)), indices)
    assert len(lowest) < len(everything)
    for indices in everything:
        architecture = space.decode(indices)
        assert space.encode(architecture) == lowest[fingerprint(architecture)]


def test_an_architecture_in_other_blocks_is_found_too() -> None:
    space = space_of(REGROUPED)
    block = parse_block("r3_k3_s11_e1_i16_o16_conv")
    merged = Architecture((block,), stem_filters=16, stem_stride=1, head_filters=64)
    assert space.encode(merged) == (0, 0, 0, 1)


def test_decisions_are_named_by_block() -> None:
    decisions = space_of(EFFECTLESS).decisions
    assert [(decision.name, decision.choices) for decision in decisions] == [
        ("blocks[0].op", ("conv", "mbconv")),
        ("blocks[0].expand", (1, 3)),
        ("blocks[0].skip", ("identity", "none")),
        ("blocks[0].layers", (1, 2)),
    ]


def test_shared_decisions_come_first_and_have_no_block() -> None:
    decisions = space_of(SHARED).decisions
    assert [(decision.name, decision.choices) for decision in decisions] == [
        ("blocks.op", ("mbconv", "conv")),
        ("blocks.expand", (1, 3)),
        ("blocks.kernel", (3, 5)),
        ("blocks[0].filters", (8, 16)),
        ("blocks[1].layers", (1, 2)),
        ("blocks[2].layers", (1, 2)),
    ]


def test_a_shared_index_selects_the_same_place_in_every_block() -> None:
    blocks = space_of(SHARED).decode((0, 1, 1, 0, 0, 1)).blocks
    assert [block.kernel for block in blocks] == [5, 5, 3]
    assert [block.expand for block in blocks] == [1, 6, 3]  # The first two have one each.


@pytest.mark.parametrize("name", ["mnasnet", "small32"])
def test_the_networks_of_one_cell_are_networks_of_the_factorized_space(name: str) -> None:
    cell, factorized = SearchSpace.load(f"{name}_cell"), SearchSpace.load(name)
    for seed in range(20):
        architecture = cell.decode(some_indices(cell, seed))
        assert fingerprint(factorized.decode(factorized.encode(architecture))) == fingerprint(architecture)


@pytest.mark.parametrize("name", ["mnasnet_cell", "small32_cell"])
def test_every_decision_of_a_cell_space_is_shared(name: str) -> None:
    space = SearchSpace.load(name)
    assert [decision.name for decision in space.decisions] == [f"blocks.{name}" for name in space.shared]
    assert all(set(block.decisions()) <= set(space.shared) for block in space.blocks)


@pytest.mark.parametrize("name", ["mnasnet_cell", "small32_cell"])
def test_a_network_with_two_cells_is_outside_a_cell_space(name: str) -> None:
    space = SearchSpace.load(name)
    architecture = space.decode([0] * len(space.decisions))
    blocks = list(architecture.blocks)
    blocks[2] = replace(blocks[2], kernel=5)
    with pytest.raises(SpaceError, match="all blocks share the choice of op, kernel"):
        space.encode(replace(architecture, blocks=tuple(blocks)))


def test_a_decision_that_is_left_out_has_its_default() -> None:
    block = space_of(EFFECTLESS).decode((0, 0, 0, 0)).blocks[0]
    assert (block.kernel, block.se_ratio) == (3, 0)


def test_numpy_integers_are_indices() -> None:
    space = space_of(EFFECTLESS)
    assert space.decode(list(np.array([1, 0, 1, 0]))) == space.decode((1, 0, 1, 0))


def test_every_index_tuple_is_drawn_with_the_same_probability() -> None:
    space, draws = space_of(EFFECTLESS), 8_000
    rng = np.random.default_rng(7)
    counts = dict.fromkeys(product(*map(range, space.decision_sizes)), 0)
    for _ in range(draws):
        counts[space.sample(rng)] += 1
    expected = draws / space.cardinality
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 37.7  # the 99.9% point at 15 degrees of freedom


def test_a_seed_gives_the_same_samples() -> None:
    space = SearchSpace.load("mnasnet")
    assert some_indices(space, 5) == some_indices(space, 5)
    assert all(type(index) is int for index in some_indices(space, 5))


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ((0, 0, 0), "3 indices given; the space 'test' has 4 decisions"),
        ((0, 2, 0, 0), "index 1 (blocks[0].expand) is 2; it must be from 0 to 1"),
        ((0, 0, 0, -1), "index 3 (blocks[0].layers) is -1; it must be from 0 to 1"),
    ],
)
def test_indices_that_do_not_fit_are_refused(indices: tuple[int, ...], message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        space_of(EFFECTLESS).decode(indices)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            "r1_k3_s22_e6_i16_o16",
            "blocks[0]: mbconv with expand 6 is outside the space; it has conv with expand 1, mbconv",
        ),
        ("r1_k5_s22_e3_i16_o16", "blocks[0]: kernel 5 is outside the space; it has 3"),
        ("r1_k3_s11_e3_i16_o16", "blocks[0]: stride 1 is outside the space; it is 2 there"),
        ("r1_k3_s22_e3_i16_o24", "blocks[0]: filters 24 is outside the space; it has 16"),
        ("r3_k3_s22_e3_i16_o16", "blocks[0]: layers 3 is outside the space; it has 1, 2"),
        ("r1_k3_s22_e3_i16_o16_se0.5", "blocks[0]: se_ratio 0.5 is outside the space; it has 0.0"),
        ("r1_k3_s22_e3_i16_o16_pool", "blocks[0]: skip pool is outside the space; it has identity, none"),
        ("r2_k3_s22_e3_i8_o16_se0.25", "blocks[0]: se_ratio 0.25"),
    ],
)
def test_an_architecture_outside_the_space_is_refused_with_its_choice(block: str, message: str) -> None:
    architecture = Architecture((parse_block(block),), stem_filters=16, stem_stride=1, head_filters=64)
    with pytest.raises(SpaceError) as caught:
        space_of(EFFECTLESS).encode(architecture)
    assert message in str(caught.value)


def test_the_block_that_is_outside_is_named() -> None:
    with pytest.raises(SpaceError, match=r"blocks\[4\]: filters 112 is outside the space; it has 72, 96, 120"):
        SearchSpace.load("mnasnet").encode(reference("mnasnet-a1").architecture)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnasnet-small", "stem_filters 8 is outside the space 'mnasnet'; it is 32 there"),
        ("mobilenet-v2", "activation relu6 is outside the space 'mnasnet'; it is relu there"),
    ],
)
def test_another_frame_is_refused(name: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        SearchSpace.load("mnasnet").encode(reference(name).architecture)
    assert str(caught.value) == message


def test_another_number_of_blocks_is_refused() -> None:
    blocks = reference("mnasnet-a1").architecture.blocks[:5]
    with pytest.raises(SpaceError, match="the architecture has 5 blocks; the space has 7"):
        SearchSpace.load("mnasnet").encode(Architecture(blocks))


def test_an_unknown_space_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        SpaceError, match=r"no search space is called 'mnasnets' \(did you mean 'mnasnet'\?\); choose one of "
    ):
        SearchSpace.load("mnasnets")


def test_a_space_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(HEADER + EFFECTLESS)
    assert SearchSpace.load(path) == SearchSpace.load(str(path)) == space_of(EFFECTLESS)


BLOCK = "stride: 1, op: [conv], filters: [8], layers: [1, 2]"


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ("[]}", "'blocks' is a list of 0; allowed: a list (entries: at least 1)"),
        (f"[{{{BLOCK}}}, {{{BLOCK}, kernel: 3}}]}}", "'blocks[1].kernel' is 3; allowed: a list"),
        (
            f"[{{{BLOCK}, kernal: [3]}}]}}",
            "unknown key 'blocks[0].kernal' (did you mean 'kernel'?); allowed keys: stride",
        ),
        (f"[{{{BLOCK}, kernel: [3, 4]}}]}}", "'blocks[0]': kernel 4 is even"),
        (f"[{{{BLOCK}, kernel: [3, 3]}}]}}", "'blocks[0]': kernel lists 3 twice"),
        (f"[{{{BLOCK}, kernel: []}}]}}", "'blocks[0].kernel' is a list of 0"),
        (f"[{{{BLOCK}, se_ratio: [2]}}]}}", "'blocks[0].se_ratio[0]' is 2; allowed: a number >= 0 and <= 1"),
        (
            f"[{{{BLOCK}, skip: [residual]}}]}}",
            "'blocks[0].skip[0]' is 'residual'; allowed: 'identity', 'none', 'pool'",
        ),
        (f"[{{{BLOCK}, expand: [3]}}]}}", "'blocks[0]': expand acts on op mbconv, which is not among the choices"),
        ("[{stride: 1, op: [mbconv], filters: [8], layers: [1, 2]}]}", "op mbconv needs the decision expand"),
        ("[{stride: 1, op: [mbcnv3], filters: [8], layers: [1]}]}", "is 'mbcnv3' (did you mean 'mbconv3'?)"),
        (
            "[{stride: 1, op: [conv], filters: [0], layers: [1]}]}",
            "'blocks[0].filters[0]' is 0; allowed: an integer >= 1",
        ),
        ("[{stride: 1, op: [conv], filters: [8], layers: [1]}]}", "blocks have no decision"),
        ("[{stride: 1, op: [conv], filters: [8]}]}", "key 'blocks[0].layers' is missing; it takes a list"),
        (f"[{{{BLOCK}}}], shared: [layers, layers]}}", "shared lists layers twice; give every decision once"),
        (f"[{{{BLOCK}}}], shared: [op]}}", "shared lists op, of which no block has two choices; leave it out"),
        (f"[{{{BLOCK}}}], shared: [layer]}}", "'shared[0]' is 'layer' (did you mean 'layers'?)"),
        (
            f"[{{{BLOCK}}}, {{stride: 1, op: [conv], filters: [8], layers: [1, 2, 3]}}], shared: [layers]}}",
            "shared lists layers, of which blocks have 2 and 3 choices; give each block the same number, or one",
        ),
    ],
)
def test_a_space_that_breaks_a_rule_is_refused(blocks: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        space_of(blocks)
    assert str(caught.value).startswith("space.yaml: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("stride", [0, 3, 9])
def test_a_block_has_stride_1_or_2(stride: int) -> None:
    with pytest.raises(DocumentError, match=rf"blocks\[0\]\.stride.*{stride}"):
        space_of(f"[{{stride: {stride}, op: [conv, dconv], filters: [16], layers: [1]}}]}}")
