"""The graphs that are compiled for Ascend: the steps and evaluations that a search and the recipes use there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from msgspec.structs import replace

from experiments.benchmarks.ascend_kernels import black_images
from mnas.bundled_files import find_recipe
from mnas.evaluation.accuracy import BATCH_SIZE
from mnas.evaluation.classifiers import MindSporeClassifier
from mnas.experiment import Experiment
from mnas.mindspore_setup import AscendSettings, Compute, Precision, prepare_mindspore
from mnas.network.weights import initial_weights
from mnas.retrain.recipe import load_recipe
from mnas.training.batch_plan import BatchPlan
from mnas.training.norm_statistics import NormStatistics
from mnas.training.settings import AdamSettings, DynamicLossScale, FixedLossScale, SgdSettings, TrainingSettings
from mnas.training.sinking import SunkSteps
from mnas.training.trainer import Trainer
from search_space import Architecture, SearchSpace, lower, parse_block, reference
from search_space.lowering import LoweredNetwork

ASCEND = Compute("Ascend")
# As the recipes compile; the other groups compile at O0. MindSpore takes a level once in a process.
WHOLE_GRAPH = Compute("Ascend", ascend=AscendSettings(jit_level="O2", op_compile=True))
CARDS = 8
SINK_STEPS = 2
RECIPES = ("mnasnet_0.75_ascend", "mnasnet_paper")
# The experiment whose children each space has here, and the form of their images.
CHILDREN = {
    "mnasnet": ("imagenet_ascend", 3, 1000),
    "mnasnet_google": ("imagenet_ascend", 3, 1000),
    "small32": ("cifar10", 3, 10),
    "tiny16": ("quickstart", 1, 10),
}
EVERY_LAYER = Architecture(
    (
        parse_block("r2_k3_s11_e1_i8_o8_conv"),
        parse_block("r2_k3_s22_e3_i8_o16_se0.25_pool"),
        parse_block("r1_k5_s11_e6_i16_o12_pool"),
        parse_block("r1_k3_s11_e1_i12_o12_noskip"),
    ),
    stem_filters=8,
    head_filters=16,
)
"""A small network with every kind of layer; the pooled inputs gain and lose channels."""


@dataclass(frozen=True)
class Graph:
    """A graph by its name, and what compiles it.

    `compile` returns the trainer for a training step, which can then take it; None for other graphs.
    """

    name: str
    compile: Callable[[], Trainer | None]


def covering_decisions(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return index tuples that together have every choice of every decision, as few as possible.

    Neighbouring decisions are shifted against each other, so that the same choices do not always meet.
    """
    return [tuple((number + position) % size for position, size in enumerate(sizes)) for number in range(max(sizes))]


def covering_networks(name: str) -> dict[str, Architecture]:
    """Return architectures of a bundled space that together have every choice of every decision, by name."""
    space = SearchSpace.load(name)
    return {
        f"{name} {number}": space.decode(decisions)
        for number, decisions in enumerate(covering_decisions(space.decision_sizes), start=1)
    }


def child_graphs(spaces: Collection[str]) -> list[Graph]:
    """Return the step of a child for every covering network of some spaces, and an evaluation for each space."""
    graphs = []
    for space in spaces:
        experiment, channels, classes = CHILDREN[space]
        settings = Experiment.load(experiment).training
        size = SearchSpace.load(space).image_size
        networks = {
            name: lower(architecture, image_size=size, channels=channels, num_classes=classes)
            for name, architecture in covering_networks(space).items()
        }
        graphs += [Graph(name, partial(_step, network, settings)) for name, network in networks.items()]
        graphs.append(Graph(f"{space}, evaluation", partial(_evaluation, networks[f"{space} 1"])))
    return graphs


def recipe_graphs() -> list[Graph]:
    """Return the steps of the recipes on one card, of their settings in other precisions, and sunk."""
    b1 = replace(load_recipe(find_recipe(RECIPES[0])).training, batch_size=256)
    a1 = replace(load_recipe(find_recipe(RECIPES[1])).training, batch_size=256)
    precisions: tuple[Precision, ...] = ("O1", "O2", "O3")  # O0 is that of the recipes
    changes: dict[str, Any] = {"precision": "O2", "loss_scale": DynamicLossScale(), "clip_norm": 1.0}
    dynamic = replace(a1, **changes)
    small = lower(covering_networks("small32")["small32 1"], image_size=32)
    return [
        *(Graph(f"{name} on 1 card", partial(_recipe_step, name, 1)) for name in RECIPES),
        Graph("A1 with EMA, O2, a dynamic loss scale and clipping", partial(_step, _network("mnasnet-a1"), dynamic)),
        Graph("A1, evaluation", partial(_evaluation, _network("mnasnet-a1"))),
        *(
            Graph(f"{name}, {precision}", partial(_step, small, replace(settings, precision=precision)))
            for name, settings in zip(RECIPES, (b1, a1), strict=True)
            for precision in precisions
        ),
        *(
            Graph(name, partial(_step, small, replace(b1, optimizer=optimizer)))
            for name, optimizer in (("sgd", SgdSettings()), ("adam", AdamSettings()))
        ),
        Graph("sunk step", partial(_sunk_step, small, b1)),
    ]


def whole_graphs() -> list[Graph]:
    """Return the steps of the recipes on one card, at the jit level that they have."""
    return [Graph(f"{name} at O2", partial(_recipe_step, name, 1, WHOLE_GRAPH)) for name in RECIPES]


def card_graphs() -> list[Graph]:
    """Return the steps of the recipes on eight cards, for a process that has joined the others."""
    return [Graph(f"{name} on {CARDS} cards", partial(_recipe_step, name, CARDS)) for name in RECIPES]


def every_layer_graphs() -> list[Graph]:
    """Return one step that has every kind of layer, and all that a recipe's settings may add to it."""
    settings = replace(
        load_recipe(find_recipe("mnasnet_paper")).training,
        batch_size=256,
        loss_scale=FixedLossScale(scale=256.0),
        clip_norm=1.0,
    )
    network = lower(EVERY_LAYER, image_size=32)
    return [
        Graph("every kind of layer", partial(_step, network, settings)),
        Graph("every kind of layer, batch norms measured again", partial(_norm_statistics, network, settings)),
    ]


def refused_graphs() -> list[Graph]:
    """Return what MindSpore must refuse: on every device, and on Ascend alone."""
    return [
        Graph("float64 convolution", _float64_convolution),
        Graph("3-d convolution in groups", _grouped_3d_convolution),
    ]


def _network(name: str, width: float = 1.0) -> LoweredNetwork:
    return lower(reference(name).architecture.scaled(width))


def _step(
    network: LoweredNetwork, settings: TrainingSettings, plan: BatchPlan | None = None, compute: Compute = ASCEND
) -> Trainer:
    images = black_images(network, settings.batch_size * SINK_STEPS)
    return Trainer(network, settings, images, seed=0, plan=plan, compute=compute)


def _recipe_step(name: str, cards: int, compute: Compute = ASCEND) -> Trainer:
    recipe = load_recipe(find_recipe(name))
    assert recipe.architecture is not None
    assert recipe.micro_batch_size is not None
    plan = BatchPlan(recipe.training.batch_size, recipe.micro_batch_size, rank=0, ranks=cards)
    return _step(_network(recipe.architecture, recipe.width), recipe.training, plan, compute)


def _sunk_step(network: LoweredNetwork, settings: TrainingSettings) -> None:
    sunk = SunkSteps(_step(network, settings), [(0, range(SINK_STEPS))], SINK_STEPS)
    # MindSpore compiles a sunk step at its first call. At level 0 there is nothing to run then.
    try:
        sunk._take()
    except RuntimeError as error:
        if "Can't find run graph func" not in str(error):
            raise


def _evaluation(network: LoweredNetwork) -> None:
    classifier = MindSporeClassifier(network, initial_weights(network, seed=0), BATCH_SIZE, ASCEND)
    from mindspore import Tensor

    shape = (BATCH_SIZE, network.channels, network.image_size, network.image_size)
    classifier._cell.compile(Tensor(np.zeros(shape, np.float32)))


def _norm_statistics(network: LoweredNetwork, settings: TrainingSettings) -> None:
    prepare_mindspore(ASCEND)
    from mindspore import Tensor

    images = black_images(network, settings.batch_size)
    norms = NormStatistics(network, settings, images, seed=0, micro_batch_size=settings.batch_size, compute=ASCEND)
    shape = (settings.batch_size, network.channels, network.image_size, network.image_size)
    norms._build(initial_weights(network, seed=0)).compile(Tensor(np.zeros(shape, np.float32)))


def _float64_convolution() -> None:
    prepare_mindspore(ASCEND)
    from mindspore import Tensor, nn, ops

    class Convolve(nn.Cell):  # type: ignore[misc]  # MindSpore has no types
        def __init__(self) -> None:
            super().__init__()
            self.convolve = ops.Conv2D(4, 3)

        def construct(self, x: Any, weight: Any) -> Any:
            return self.convolve(x, weight)

    Convolve().compile(Tensor(np.zeros((2, 4, 8, 8))), Tensor(np.zeros((4, 4, 3, 3))))


def _grouped_3d_convolution() -> None:
    prepare_mindspore(ASCEND)
    from mindspore import ops

    ops.Conv3D(4, 3, group=2)


GROUPS: dict[str, Callable[[], list[Graph]]] = {
    "children of mnasnet": partial(child_graphs, ("mnasnet",)),
    "children of other spaces": partial(child_graphs, tuple(name for name in CHILDREN if name != "mnasnet")),
    "recipes": recipe_graphs,
    "recipes at O2": whole_graphs,
    "cards": card_graphs,
    "every layer": every_layer_graphs,
    "refused": refused_graphs,
}
"""What one process compiles, the longest first."""

COMPUTES = {"recipes at O2": WHOLE_GRAPH}
"""What a group is compiled for, if not for `ASCEND`."""
