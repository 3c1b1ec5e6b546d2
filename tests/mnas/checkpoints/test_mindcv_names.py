"""The names and shapes here are written from MindCV's definition, not by way of our mapping."""

from collections.abc import Iterator

import numpy as np
import pytest

from mnas.checkpoints.mindcv_names import from_mindcv, has_mindcv_names, mindcv_names, to_mindcv
from mnas.errors import WeightsError
from mnas.network.weights import FloatArray, check_weights, initial_weights
from search_space import Architecture, LoweredNetwork, lower, parameters, parse_block, reference

WIDTHS = (0.5, 0.75, 1.0, 1.3, 1.4)
# (expansion, filters, layers, kernel) of MindCV's Mnasnet after the stem and the separable convolution.
SETTINGS = ((3, 24, 3, 3), (3, 40, 3, 5), (6, 80, 3, 5), (6, 96, 2, 3), (6, 192, 4, 5), (6, 320, 1, 3))
Shape = tuple[int, ...]


def divisible(filters: float) -> int:
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def normalized(name: str, weight: Shape, place: int) -> Iterator[tuple[str, Shape]]:
    """A convolution at a place of a list, and its batch norm at the next."""
    yield f"{name}.{place}.weight", weight
    for part in ("gamma", "beta", "moving_mean", "moving_variance"):
        yield f"{name}.{place + 1}.{part}", weight[:1]


def layout(width: float) -> dict[str, Shape]:
    stem, filters = divisible(32 * width), divisible(16 * width)
    shapes = dict(normalized("features", (stem, 3, 3, 3), 0))
    shapes |= normalized("features", (stem, 1, 3, 3), 3)
    shapes |= normalized("features", (filters, stem, 1, 1), 6)
    place = 8
    for expansion, full_filters, layers, kernel in SETTINGS:
        for _ in range(layers):
            hidden, out = filters * expansion, divisible(full_filters * width)
            name = f"features.{place}.layers"
            shapes |= normalized(name, (hidden, filters, 1, 1), 0)
            shapes |= normalized(name, (hidden, 1, kernel, kernel), 3)
            shapes |= normalized(name, (out, hidden, 1, 1), 6)
            place, filters = place + 1, out
    shapes |= normalized("features", (1280, filters, 1, 1), place)
    return shapes | {"classifier.weight": (1000, 1280), "classifier.bias": (1000,)}


def b1(width: float) -> LoweredNetwork:
    return lower(reference("mnasnet-b1").architecture.scaled(width))


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest) -> float:
    return float(request.param)


def published(width: float) -> dict[str, FloatArray]:
    generator = np.random.default_rng(0)
    return {name: generator.random(shape, np.float32) for name, shape in layout(width).items()}


def test_the_layout_of_the_test_has_the_published_number_of_tensors() -> None:
    names = list(layout(1.0))
    statistics = [name for name in names if name.endswith(("moving_mean", "moving_variance"))]
    assert (len(names) - len(statistics), len(statistics)) == (158, 104)


def test_weights_of_mindcv_load_with_no_name_missing_or_left_over(width: float) -> None:
    network = b1(width)
    loaded = from_mindcv(network, published(width))
    check_weights(network, loaded)
    trainable = [parameter.name for parameter in parameters(network) if parameter.trainable]
    assert (len(trainable), len(loaded)) == (158, 262)


def test_our_weights_get_exactly_the_names_and_shapes_of_mindcv(width: float) -> None:
    written = to_mindcv(b1(width), initial_weights(b1(width), seed=0))
    assert {name: value.shape for name, value in written.items()} == layout(width)


def test_weights_survive_the_way_to_mindcv_and_back() -> None:
    network = b1(0.5)
    weights = initial_weights(network, seed=0)
    back = from_mindcv(network, to_mindcv(network, weights))
    assert back.keys() == weights.keys()
    assert all(np.array_equal(back[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("stem.conv.weight", "features.0.weight"),
        ("stem.norm.moving_mean", "features.1.moving_mean"),
        ("blocks.0.0.depthwise.weight", "features.3.weight"),
        ("blocks.0.0.project_norm.gamma", "features.7.gamma"),
        ("blocks.1.0.expand.weight", "features.8.layers.0.weight"),
        ("blocks.2.1.depthwise_norm.beta", "features.12.layers.4.beta"),
        ("blocks.6.0.project.weight", "features.23.layers.6.weight"),
        ("head.conv.weight", "features.24.weight"),
        ("head.norm.moving_variance", "features.25.moving_variance"),
        ("classifier.bias", "classifier.bias"),
    ],
)
def test_a_layer_keeps_its_meaning(ours: str, theirs: str) -> None:
    assert mindcv_names(b1(1.0))[ours] == theirs


def test_a_missing_name_is_said() -> None:
    weights = published(0.5)
    del weights["features.8.layers.3.weight"]
    with pytest.raises(WeightsError, match=r"1 of MindCV's names are missing.*'features.8.layers.3.weight'"):
        from_mindcv(b1(0.5), weights)


def test_a_name_too_many_is_said() -> None:
    weights = {**published(0.5), "features.99.weight": np.zeros(1, np.float32)}
    with pytest.raises(WeightsError, match=r"1 names belong to no parameter.*'features.99.weight'"):
        from_mindcv(b1(0.5), weights)


def test_weights_of_another_width_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"have shape \(16, 3, 3, 3\), the network needs \(24, 3, 3, 3\)"):
        from_mindcv(b1(0.75), published(0.5))


FIRST = "r1_k3_s11_e1_i32_o16_noskip"


@pytest.mark.parametrize(
    ("blocks", "activation", "named"),
    [
        (("r1_k3_s11_e1_i32_o16_noskip_se0.25", "r1_k3_s11_e3_i16_o24"), "relu", r"blocks\.0\.0"),
        ((FIRST, "r1_k3_s11_e3_i16_o24_se0.25"), "relu", r"blocks\.1\.0"),
        ((FIRST, "r2_k3_s11_e3_i16_o24_noskip"), "relu", r"blocks\.1\.1"),
        ((FIRST, "r1_k3_s11_e3_i16_o24_pool"), "relu", r"blocks\.1\.0"),
        ((FIRST, "r1_k3_s11_e1_i16_o24"), "relu", r"blocks\.1\.0"),
        ((FIRST, "r1_k3_s11_e1_i16_o24_conv"), "relu", r"blocks\.1\.0"),
        ((FIRST, "r1_k3_s11_e3_i16_o24"), "relu6", r"blocks\.0\.0"),
    ],
)
def test_a_network_that_mindcv_does_not_have_is_refused(blocks: tuple[str, ...], activation: str, named: str) -> None:
    architecture = Architecture(tuple(map(parse_block, blocks)), activation="relu" if activation == "relu" else "relu6")
    with pytest.raises(WeightsError, match=named):
        mindcv_names(lower(architecture))


def test_the_two_kinds_of_names_are_told_apart() -> None:
    assert has_mindcv_names(layout(1.0))
    assert not has_mindcv_names(initial_weights(b1(0.5), seed=0))
