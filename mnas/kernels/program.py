"""A lowered network as the table of layers that the kernels run (`Layer` in network.c)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from search_space.counting import layer_parameters
from search_space.lowering import (
    Activation,
    AveragePool,
    BatchNorm,
    Convolution,
    Dense,
    FitChannels,
    GlobalAveragePool,
    LoweredNetwork,
    SqueezeExcite,
)
from search_space.lowering import Layer as LoweredLayer

LANES = 8
CACHE_LINE = 16
GRADIENT_BUFFERS = 5
LARGEST_KERNEL = 7
ACTIVATIONS = {"relu": 1, "relu6": 2}


class Kind(IntEnum):
    """What a layer computes, as network.c counts."""

    INPUT = 0
    CONVOLUTION = 1
    DEPTHWISE = 2
    NORM = 3
    SQUEEZE_EXCITE = 4
    POOL = 5
    FIT = 6
    ADD = 7
    MEAN = 8
    MASK = 9
    BIAS = 10


@dataclass(frozen=True)
class ProgramLayer:
    """A layer; the fields are those of `Layer` in network.c."""

    kind: Kind
    input: int
    other: int
    channels: int
    size: int
    kernel: int = 0
    stride: int = 0
    weights: int = 0
    statistics: int = 0
    activation: int = 0
    reduced: int = 0

    def floats(self, images: int) -> int:
        """Return the floats of its output, as tensor.h stores it."""
        return -(-self.channels // LANES) * (images * self.size**2 * LANES + CACHE_LINE)

    def saved_floats(self, images: int) -> int:
        """Return the floats that it keeps for its gradient."""
        if self.kind == Kind.NORM:
            return 2 * -(-self.channels // LANES) * LANES
        if self.kind == Kind.SQUEEZE_EXCITE:
            return images * (2 * self.channels + self.reduced)
        return 0


@dataclass
class Program:
    """The layers of a network in the order in which they run; the first is its input.

    Weights and statistics are those of `search_space.counting.parameters`: trained ones in one vector, the others in
    another, both in their order.
    """

    layers: list[ProgramLayer]
    weights: int = field(default=0, init=False)
    statistics: int = field(default=0, init=False)

    def table(self) -> NDArray[np.int32]:
        """Return the layers as network.c reads them, shape (layers, 11)."""
        return np.array([list(vars(layer).values()) for layer in self.layers], np.int32)

    def output_shape(self, images: int) -> tuple[int, int, int, int]:
        """Return the shape of what the last layer gives."""
        return _shape(self.layers[-1], images)

    def input_shape(self, images: int) -> tuple[int, int, int, int]:
        """Return the shape of the images."""
        return _shape(self.layers[0], images)

    def workspace_floats(self, images: int) -> int:
        """Return the floats of all outputs, and of what layers keep; each begins at a cache line."""
        return sum(layer.floats(images) + layer.saved_floats(images) + CACHE_LINE for layer in self.layers) + CACHE_LINE

    def gradient_floats(self, images: int) -> int:
        """Return the floats of the buffers for the gradients of outputs."""
        return GRADIENT_BUFFERS * (max(layer.floats(images) for layer in self.layers) + CACHE_LINE) + CACHE_LINE

    def add(self, layer: LoweredLayer, source: int, activation: Activation | None = None) -> int:
        """Add a lowered layer that takes the output of layer `source`, and return its number.

        `activation` is that of a batch norm.
        """
        shape = self.layers[source]
        before = ProgramLayer(
            shape.kind, source, 0, shape.channels, shape.size, weights=self.weights, statistics=self.statistics
        )
        for spec in layer_parameters(layer):
            if spec.trainable:
                self.weights += spec.size
            else:
                self.statistics += spec.size
        match layer:
            case Convolution(_, _, channels, kernel, stride, groups, size):
                kind = Kind.CONVOLUTION if groups == 1 else Kind.DEPTHWISE
                added = replace(before, kind=kind, channels=channels, size=size, kernel=kernel, stride=stride)
            case BatchNorm():
                added = replace(before, kind=Kind.NORM, activation=ACTIVATIONS[activation.kind] if activation else 0)
            case SqueezeExcite():
                added = replace(before, kind=Kind.SQUEEZE_EXCITE, reduced=layer.reduced_channels)
            case AveragePool(kernel, stride, _, size):
                added = replace(before, kind=Kind.POOL, size=size, kernel=kernel, stride=stride)
            case FitChannels(_, channels):
                added = replace(before, kind=Kind.FIT, channels=channels)
            case GlobalAveragePool():
                added = replace(before, kind=Kind.MEAN, size=1)
            case Dense(_, inputs, outputs):
                # A dense layer is a convolution of single pixels.
                product = replace(before, kind=Kind.CONVOLUTION, channels=outputs, kernel=1, stride=1)
                product = replace(product, input=self.append(replace(before, kind=Kind.MASK)))
                bias = before.weights + inputs * outputs
                added = replace(before, kind=Kind.BIAS, input=self.append(product), channels=outputs, weights=bias)
            case _:
                raise AssertionError(f"no layer for {layer}")
        return self.append(added)

    def append(self, layer: ProgramLayer) -> int:
        """Append a layer and return its number."""
        self.layers.append(layer)
        return len(self.layers) - 1


def program_of(network: LoweredNetwork) -> Program | None:
    """Return the layers of a network, None if it has a convolution that the kernels do not compute."""
    if not all(_computed(layer) for layer in network.layers() if isinstance(layer, Convolution)):
        return None
    program = Program([ProgramLayer(Kind.INPUT, 0, 0, network.channels, network.image_size)])
    last = 0
    for unit in network.units:
        start, last = last, _add_all(program, unit.body, last)
        if unit.shortcut is not None:
            shortcut = _add_all(program, unit.shortcut, start)
            last = program.append(replace(program.layers[last], kind=Kind.ADD, input=last, other=shortcut))
    return program


def _add_all(program: Program, layers: tuple[LoweredLayer, ...], source: int) -> int:
    """Add layers that follow each other from layer `source` on, and return the number of the last."""
    for layer, following in zip_longest(layers, layers[1:]):
        if not isinstance(layer, Activation):  # it is part of the batch norm before it
            source = program.add(layer, source, following if isinstance(following, Activation) else None)
    return source


def _computed(convolution: Convolution) -> bool:
    simple = convolution.kernel % 2 == 1 and convolution.kernel <= LARGEST_KERNEL and convolution.stride <= 2
    depthwise = convolution.groups == convolution.in_channels == convolution.out_channels
    return simple and (convolution.groups == 1 or depthwise)


def _shape(layer: ProgramLayer, images: int) -> tuple[int, int, int, int]:
    return images, layer.channels, layer.size, layer.size
