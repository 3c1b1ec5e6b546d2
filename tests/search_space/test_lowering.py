from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from search_space import (
    Architecture,
    SearchSpace,
    SpaceError,
    fingerprint,
    lower,
    parameters,
    parse_block,
    reference,
    reference_names,
)
from search_space.lowering import AveragePool, Convolution, FitChannels, Layer, SqueezeExcite, Unit


def build(*blocks: str, stem_filters: int = 16, head_filters: int = 64) -> Architecture:
    return Architecture(tuple(map(parse_block, blocks)), stem_filters=stem_filters, head_filters=head_filters)


def named_unit(architecture: Architecture, name: str) -> Unit:
    return next(unit for unit in lower(architecture).units if unit.name == name)


def channels_through(layers: Iterable[Layer], channels: int) -> int:
    for layer in layers:
        match layer:
            case Convolution(in_channels=expected, out_channels=out):
                assert channels == expected
                channels = out
            case FitChannels(in_channels=expected, out_channels=out):
                assert channels == expected
                channels = out
            case SqueezeExcite(channels=expected) | AveragePool(channels=expected):
                assert channels == expected
    return channels


@pytest.mark.parametrize("name", SearchSpace.names())
def test_channels_fit_through_every_unit_of_sampled_networks(name: str) -> None:
    space, rng = SearchSpace.load(name), np.random.default_rng(3)
    for _ in range(30):
        network = lower(space.decode(space.sample(rng)), image_size=space.image_size, channels=3)
        channels = network.channels
        for unit in network.units[:-1]:
            out = channels_through(unit.body, channels)
            if unit.shortcut is not None:
                assert channels_through(unit.shortcut, channels) == out
            channels = out


@pytest.mark.parametrize("name", reference_names())
def test_parameter_names_are_unique(name: str) -> None:
    names = [parameter.name for parameter in parameters(lower(reference(name).architecture))]
    assert len(set(names)) == len(names)


def test_only_the_first_layer_of_a_block_has_the_stride() -> None:
    units = lower(build("r3_k3_s22_e6_i16_o24"), image_size=32).units
    strides = [
        layer.stride for unit in units for layer in unit.body if isinstance(layer, Convolution) and layer.groups > 1
    ]
    assert strides == [2, 1, 1]


def test_image_sizes_round_up_at_a_stride() -> None:
    network = lower(build("r1_k3_s22_e6_i16_o24"), image_size=33)
    sizes = [layer.out_size for layer in network.layers() if isinstance(layer, Convolution)]
    assert sizes == [17, 17, 9, 9, 9]


def test_residual_only_if_stride_and_width_allow_it() -> None:
    architecture = build("r2_k3_s22_e6_i16_o16", "r1_k3_s11_e6_i16_o24")
    shortcuts = [unit.shortcut for unit in lower(architecture).units[1:-2]]
    assert shortcuts == [None, (), None]


def test_mnasnet_small_has_no_residual_in_its_first_block() -> None:
    # It has i16 after a stem of 8 and has 8 output filters.
    assert named_unit(reference("mnasnet-small").architecture, "blocks.0.0").shortcut is None


def test_pool_skip_fits_size_and_channels() -> None:
    architecture = build("r2_k3_s22_e6_i16_o24_pool")
    assert named_unit(architecture, "blocks.0.0").shortcut == (AveragePool(3, 2, 16, 56), FitChannels(16, 24))
    assert named_unit(architecture, "blocks.0.1").shortcut == (AveragePool(3, 1, 24, 56),)


def test_squeeze_excite_reduces_from_the_input_filters() -> None:
    body = named_unit(build("r1_k3_s11_e6_i16_o24_se0.25"), "blocks.0.0").body
    assert SqueezeExcite("blocks.0.0.se", 96, 4) in body


@pytest.mark.parametrize("size", ["image_size", "channels", "num_classes"])
def test_sizes_below_1_are_refused(size: str) -> None:
    with pytest.raises(SpaceError, match=f"{size} is 0; it must be at least 1"):
        lower(build("r1_k3_s11_e1_i16_o16"), **{size: 0})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["r1_k3_s22_e6_i16_o24"], ["r1_k3_s22_e6_i16_o24_noskip"]),
        (["r1_k3_s11_e6_i16_o24"], ["r1_k3_s11_e6_i16_o24_noskip"]),
        (["r3_k3_s11_e6_i16_o16"], ["r1_k3_s11_e6_i16_o16", "r2_k3_s11_e6_i16_o16"]),
        (["r2_k3_s22_e6_i16_o24"], ["r1_k3_s22_e6_i16_o24_noskip", "r1_k3_s11_e6_i24_o24"]),
        (["r1_k3_s11_e6_i16_o24_se0.25"], ["r1_k3_s11_e6_i16_o24_se0.26"]),
    ],
)
def test_same_network_same_fingerprint(one: list[str], other: list[str]) -> None:
    assert fingerprint(build(*one)) == fingerprint(build(*other))


def test_dconv_is_mbconv_with_expand_1() -> None:
    paper, google = SearchSpace.load("mnasnet"), SearchSpace.load("mnasnet_google")
    dconv = paper.decode((1, 0, 0, 1, 1, 0) + (0,) * 36)  # op dconv, skip identity, 16 filters
    assert dconv.blocks[0] == google.decode((1, 0, 0, 0, 1, 0) + (0,) * 36).blocks[0]


BASE = "r2_k3_s11_e6_i16_o16_se0.25"


@pytest.mark.parametrize(
    "other",
    [
        "r3_k3_s11_e6_i16_o16_se0.25",
        "r2_k5_s11_e6_i16_o16_se0.25",
        "r2_k3_s22_e6_i16_o16_se0.25",
        "r2_k3_s11_e3_i16_o16_se0.25",
        "r2_k3_s11_e6_i16_o24_se0.25",
        "r2_k3_s11_e6_i16_o16_se0.5",
        "r2_k3_s11_e6_i16_o16",
        "r2_k3_s11_e6_i16_o16_se0.25_noskip",
        "r2_k3_s11_e6_i16_o16_se0.25_pool",
        "r2_k3_s11_e1_i16_o16_se0.25",
        "r2_k3_s11_e1_i16_o16_se0.25_conv",
    ],
)
def test_another_block_another_fingerprint(other: str) -> None:
    assert fingerprint(build(other)) != fingerprint(build(BASE))


def test_stem_head_and_activation_enter_the_fingerprint() -> None:
    base = build(BASE)
    others = [
        replace(base, stem_filters=24),
        replace(base, stem_stride=1),
        replace(base, head_filters=65),
        replace(base, activation="relu6"),
    ]
    assert len({fingerprint(architecture) for architecture in [base, *others]}) == 5


# Stores of past searches hold fingerprints: a change of these values makes every stored network unknown.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnasnet-a1", "e51fff33f13b66b8"),
        ("mnasnet-b1", "298de6d3c84b7aa0"),
    ],
)
def test_fingerprints_stay_as_they_were(name: str, expected: str) -> None:
    assert fingerprint(reference(name).architecture) == expected


@pytest.mark.parametrize(
    ("block", "sizes", "problem"),
    [
        ("r1_k3_s11_e1_i32_o16", {"image_size": 100_000_000}, "the input has"),
        ("r1_k3_s11_e1_i32_o16", {"num_classes": 10**9}, "weights"),
        ("r999999_k3_s11_e1_i32_o16", {}, "999999 layers"),
        ("r1_k999999_s11_e1_i32_o16", {}, "weights"),
        ("r1_k3_s11_e999999_i32_o16", {}, "has .* elements"),
        ("r1_k3_s11_e1_i32_o999999", {}, "has .* elements"),
    ],
)
def test_a_network_that_no_machine_can_hold_is_refused(block: str, sizes: dict[str, int], problem: str) -> None:
    with pytest.raises(SpaceError, match=problem):
        lower(Architecture((parse_block(block),)), **sizes)
