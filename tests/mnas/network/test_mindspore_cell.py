"""The MindSpore network against the count of parameters, and against the ONNX graph after real training steps."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import pytest

from mnas.data import ImageArrays
from mnas.evaluation.classifiers import MindSporeClassifier, onnx_classifier
from mnas.mindspore_setup import prepare_mindspore
from mnas.network.onnx_graph import build_onnx
from mnas.network.weights import FloatArray, initial_weights
from mnas.training.settings import TrainingSettings
from mnas.workers.child import train_network
from search_space.architecture import ActivationKind, Architecture, Block
from search_space.block_string import parse_block
from search_space.counting import parameters
from search_space.lowering import AveragePool, Convolution, FitChannels, LoweredNetwork, lower
from search_space.space import SearchSpace

BATCH = 64


def network_of(
    *blocks: str, size: int, channels: int, stem: int, stem_stride: int, activation: ActivationKind
) -> tuple[Architecture, LoweredNetwork]:
    architecture = Architecture(
        tuple(map(parse_block, blocks)), stem, stem_stride, head_filters=40, activation=activation
    )
    return architecture, lower(architecture, image_size=size, channels=channels, num_classes=7)


# Each compiles three graphs at about a second: few and small, but every choice of every space is in one of them.
COVERING = {
    "pool skips, odd sizes": network_of(
        "r2_k3_s22_e1_i12_o16_conv_pool_se0.25",
        "r1_k5_s11_e3_i16_o8_pool",
        "r2_k5_s22_e6_i8_o8_se0.25",
        size=21,
        channels=3,
        stem=12,
        stem_stride=1,
        activation="relu6",
    ),
    "no skips, strided stem": network_of(
        "r2_k5_s11_e1_i8_o8_noskip",
        "r2_k3_s22_e6_i8_o16_noskip",
        "r2_k5_s22_e1_i16_o16_conv",
        "r1_k3_s11_e3_i16_o24_se0.25",
        size=34,
        channels=1,
        stem=8,
        stem_stride=2,
        activation="relu",
    ),
}


def sampled(space_name: str, seed: int) -> tuple[Architecture, LoweredNetwork]:
    space = SearchSpace.load(space_name)
    architecture = space.decode(space.sample(np.random.default_rng(seed)))
    return architecture, lower(architecture, image_size=space.image_size, channels=3, num_classes=10)


NETWORKS = COVERING | {"random of tiny16": sampled("tiny16", 0), "random of small32": sampled("small32", 1)}


@dataclass(frozen=True)
class Trained:
    network: LoweredNetwork
    weights: dict[str, FloatArray]
    images: FloatArray
    mindspore_logits: FloatArray


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda name: name.replace(" ", "-"))
def trained(request: pytest.FixtureRequest, random_images: Callable[[LoweredNetwork, int], ImageArrays]) -> Trained:
    _, network = NETWORKS[request.param]
    source = random_images(network, BATCH)
    settings = TrainingSettings(epochs=2, batch_size=16, learning_rate=0.01, norm_momentum=0.7, dropout=0.2)
    weights = train_network(network, settings, source, seed=1).weights
    images, _ = next(source.evaluation_batches(BATCH))
    logits = MindSporeClassifier(network, weights, batch_size=BATCH)(images)
    return Trained(network, weights, images, logits)


def choices_of(block: Block) -> set[tuple[str, object]]:
    return {
        ("op", f"{block.op}{block.expand}"),
        ("kernel", block.kernel),
        ("se_ratio", block.se_ratio),
        ("skip", block.skip),
        ("stride", block.stride),
        ("repeated", block.layers > 1),
    }


def test_the_covering_networks_have_every_choice_of_every_space() -> None:
    covered = {
        choice for architecture, _ in COVERING.values() for block in architecture.blocks for choice in choices_of(block)
    }
    for name in SearchSpace.names():
        space = SearchSpace.load(name)
        for seed in range(50):
            for block in space.decode(space.sample(np.random.default_rng(seed))).blocks:
                assert choices_of(block) <= covered


def test_the_covering_networks_have_every_kind_of_layer_and_shortcut() -> None:
    kinds: set[object] = set()
    for _, network in COVERING.values():
        for layer in network.layers():
            match layer:
                case AveragePool(stride=stride):
                    kinds.add(("pool", stride))
                case FitChannels(before, after):
                    kinds.add("fill" if after > before else "cut")
                case Convolution(stride=2, out_size=size):
                    kinds.add(("strided to", "odd" if size % 2 else "even"))
                case _:
                    kinds.add(type(layer).__name__)
        kinds |= {"identity" for unit in network.units if unit.shortcut == ()}
    assert kinds >= {("pool", 1), ("pool", 2), "fill", "cut", "identity", ("strided to", "odd"), ("strided to", "even")}


def test_training_moved_the_weights_and_the_statistics(trained: Trained) -> None:
    before = initial_weights(trained.network, seed=1)
    unmoved = [name for name, value in trained.weights.items() if np.array_equal(value, before[name])]
    assert unmoved == []


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_onnxruntime_computes_what_mindspore_computes(trained: Trained, batch: int) -> None:
    onnx_logits = onnx_classifier(trained.network, trained.weights)(trained.images[:batch])
    expected = trained.mindspore_logits[:batch]
    assert np.linalg.norm(onnx_logits - expected) <= 1e-4 * np.linalg.norm(expected)
    np.testing.assert_allclose(onnx_logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_onnx_graph_of_trained_weights_passes_the_checker(trained: Trained) -> None:
    onnx.checker.check_model(build_onnx(trained.network, trained.weights), full_check=True)


@pytest.mark.parametrize("space_name", SearchSpace.names())
def test_parameters_are_those_that_were_counted(space_name: str) -> None:
    prepare_mindspore()
    from mnas.network.mindspore_cell import build_network

    _, network = sampled(space_name, seed=2)
    cell = build_network(network, initial_weights(network, seed=0))
    assert [(parameter.name, parameter.shape, parameter.requires_grad) for parameter in cell.get_parameters()] == [
        (parameter.name, parameter.shape, parameter.trainable) for parameter in parameters(network)
    ]
