# mypy: allow-subclassing-any
"""The MindSpore network of a lowered architecture.

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.

Parameters have the names, shapes and order of `search_space.counting.parameters`, unless the trained ones are one
vector (`mnas.network.weight_vector`). One cell for each convolution group and direct use of primitives compile fastest
of the forms that we have tried (see `mnas.network.fusion`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mindspore
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from mnas.errors import ConfigurationError
from mnas.kernels.program import program_of
from mnas.mindspore_setup import Precision
from mnas.network import operators
from mnas.network.fusion import ConvolutionGroup, fuse
from mnas.network.weight_vector import KernelNetwork, VectorNetwork
from mnas.network.weights import Weights, check_weights
from search_space.counting import parameters
from search_space.lowering import (
    BATCH_NORM_MOMENTUM,
    Activation,
    AveragePool,
    Dense,
    FitChannels,
    GlobalAveragePool,
    Layer,
    LoweredNetwork,
    SqueezeExcite,
    Unit,
)


def build_network(
    network: LoweredNetwork,
    weights: Weights,
    *,
    norm_momentum: float = BATCH_NORM_MOMENTUM,
    precision: Precision = "O0",
    kernels: bool = False,
    npu: bool = False,
    vector: bool = False,
) -> nn.Cell:
    """Build the network of a lowered architecture.

    The cell takes images (N, channels, image_size, image_size) float32 and returns logits (N, num_classes) float32. A
    second input (N, features of the classifier), the dropout mask, is multiplied with the input of the classifier. In
    training mode (`set_train()`) batch norms use the statistics of the batch and update the moving ones.

    Args:
        network: The lowered architecture.
        weights: Weights by parameter name.
        norm_momentum: Share of the old moving statistics that batch norms keep at each step.
        precision: What is computed in float16; see `TrainingSettings`.
        kernels: Whether `mnas.kernels` compute it, for training only. MindSpore's operators compute a network with a
            convolution that the kernels do not know.
        npu: Whether an NPU computes; see `mnas.network.operators`.
        vector: Whether the trained weights are one parameter; see `mnas.network.weight_vector`.

    Raises:
        WeightsError: The weights are those of another network.
        ConfigurationError: The precision is not O0, and the kernels compute in O0 only.
    """
    check_weights(network, weights)
    if kernels and precision != "O0":
        raise ConfigurationError(f"the kernels compute in float32, not in precision {precision}; use O0 or no kernels")
    specs = parameters(network)
    program = program_of(network) if kernels else None
    if program is not None:
        return KernelNetwork(program, specs, weights, norm_momentum=norm_momentum)
    trained = [spec.name for spec in specs if spec.trainable]
    positions = {name: position for position, name in enumerate(trained)} if vector else None
    options = _Options(norm_momentum, npu, positions, *_TYPES[precision])
    *features, classifier = [cell for unit in network.units for cell in _unit_cells(unit, weights, options)]
    if vector:
        return VectorNetwork(features, classifier, specs, weights)
    return _Classifier(features, classifier)


@dataclass(frozen=True)
class _Options:
    """How the cells compute.

    Attributes:
        norm_momentum: Share of the old moving statistics that batch norms keep at each step.
        npu: Whether an NPU computes.
        positions: Number of each trained weight in the vector of all; None if each is a parameter of its own.
        multiply: Type of convolutions and matrix products.
        norm: Type of batch norms.
        between: Type of all other operations.
    """

    norm_momentum: float
    npu: bool
    positions: Mapping[str, int] | None
    multiply: mindspore.Type
    norm: mindspore.Type
    between: mindspore.Type


_TYPES = {
    "O0": (mindspore.float32, mindspore.float32, mindspore.float32),
    "O1": (mindspore.float16, mindspore.float32, mindspore.float32),
    "O2": (mindspore.float16, mindspore.float32, mindspore.float16),
    "O3": (mindspore.float16, mindspore.float16, mindspore.float16),
}


def _unit_cells(unit: Unit, weights: Weights, options: _Options) -> list[nn.Cell]:
    body = [_cell(layer, weights, options) for layer in fuse(unit.body)]
    if options.positions is not None:
        body = [cell if isinstance(cell, _Weighted) else _WithoutWeights(cell) for cell in body]
    if unit.shortcut is None:
        return body
    shortcut = [_cell(layer, weights, options) for layer in fuse(unit.shortcut)]
    return [_Residual(body, shortcut, options)]


def _cell(layer: Layer | ConvolutionGroup, weights: Weights, options: _Options) -> nn.Cell:
    match layer:
        case ConvolutionGroup():
            return _ConvolutionGroup(layer, weights, options)
        case SqueezeExcite():
            return _SqueezeExcite(layer, weights, options)
        case AveragePool(kernel, stride):
            return nn.AvgPool2d(kernel, stride, pad_mode="same")
        case FitChannels(in_channels, out_channels):
            added = out_channels - in_channels
            return _AddChannels(added) if added > 0 else _CutChannels(out_channels)
        case GlobalAveragePool():
            return operators.spatial_mean(keep_dims=False, npu=options.npu)
        case Dense():
            return _Dense(layer, weights, options)
        case _:
            raise AssertionError(f"no cell for {layer}")


def _parameter(name: str, weights: Weights, *, trainable: bool = True) -> Parameter:
    return Parameter(Tensor(weights[name], mindspore.float32), name=name, requires_grad=trainable)


def _activation(activation: Activation) -> ops.Primitive:
    return {"relu": ops.ReLU, "relu6": ops.ReLU6}[activation.kind]()


class _Classifier(nn.Cell):
    def __init__(self, features: list[nn.Cell], classifier: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.features = nn.CellList(features, auto_prefix=False)
        self.classifier = classifier

    def construct(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for cell in self.features:
            x = cell(x)
        if mask is not None:
            x = x * mask.astype(x.dtype)
        return self.classifier(x)


class _WithoutWeights(nn.Cell):
    """A cell that is called as the cells are that take their weights from the vector of all."""

    def __init__(self, cell: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.cell = cell

    def construct(self, x: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
        return self.cell(x)


class _Residual(nn.Cell):
    def __init__(self, body: list[nn.Cell], shortcut: list[nn.Cell], options: _Options) -> None:
        super().__init__(auto_prefix=False)
        self.vector = options.positions is not None
        self.body = nn.CellList(body, auto_prefix=False)
        self.shortcut = nn.CellList(shortcut, auto_prefix=False)

    def construct(self, x: Tensor, weights: tuple[Tensor, ...] = ()) -> Tensor:
        y = x
        if self.vector:
            for cell in self.body:
                y = cell(y, weights)
        else:
            for cell in self.body:
                y = cell(y)
        for cell in self.shortcut:
            x = cell(x)
        return y + x


class _Weighted(nn.Cell):
    """A cell with weights: parameters of its own, or a part of the weights of all cells, with which it is called then.

    The names are those of weights that follow each other in `search_space.counting.parameters`.
    """

    def __init__(self, names: Sequence[str], weights: Weights, options: _Options) -> None:
        super().__init__(auto_prefix=False)
        self.vector = options.positions is not None
        if options.positions is not None:
            self.first = options.positions[names[0]]
            self.last = self.first + len(names)
        else:
            self.own = ParameterTuple([_parameter(name, weights) for name in names])


class _ConvolutionGroup(_Weighted):
    def __init__(self, group: ConvolutionGroup, weights: Weights, options: _Options) -> None:
        convolution, norm = group.convolution, group.norm.name
        super().__init__((f"{convolution.name}.weight", f"{norm}.gamma", f"{norm}.beta"), weights, options)
        self.multiply, self.norm, self.between = options.multiply, options.norm, options.between
        self.moving_mean = _parameter(f"{norm}.moving_mean", weights, trainable=False)
        self.moving_variance = _parameter(f"{norm}.moving_variance", weights, trainable=False)
        self.convolve = operators.convolution(convolution, npu=options.npu)
        self.train_norm = operators.batch_norm(options.norm_momentum, training=True, npu=options.npu)
        self.infer_norm = operators.batch_norm(options.norm_momentum, training=False, npu=options.npu)
        self.activated = group.activation is not None
        if group.activation is not None:
            self.activate = _activation(group.activation)

    def construct(self, x: Tensor, weights: tuple[Tensor, ...] = ()) -> Tensor:
        if self.vector:
            weight, gamma, beta = weights[self.first : self.last]
        else:
            weight, gamma, beta = self.own
        x = self.convolve(x.astype(self.multiply), weight.astype(self.multiply)).astype(self.norm)
        if self.training:
            x = self.train_norm(x, gamma, beta, self.moving_mean, self.moving_variance)[0]
        else:
            x = self.infer_norm(x, gamma, beta, self.moving_mean, self.moving_variance)[0]
        x = x.astype(self.between)
        return self.activate(x) if self.activated else x


class _SqueezeExcite(_Weighted):
    # 1x1 convolutions on a (1, 1) plane leave the batch size free; dense layers would fix it at export.
    def __init__(self, layer: SqueezeExcite, weights: Weights, options: _Options) -> None:
        parts = ("reduce.weight", "reduce.bias", "expand.weight", "expand.bias")
        super().__init__([f"{layer.name}.{part}" for part in parts], weights, options)
        self.multiply, self.between = options.multiply, options.between
        self.mean = operators.spatial_mean(keep_dims=True, npu=options.npu)
        self.reduce = operators.biased_convolution(layer.reduced_channels, npu=options.npu)
        self.expand = operators.biased_convolution(layer.channels, npu=options.npu)
        self.relu = ops.ReLU()
        self.sigmoid = ops.Sigmoid()

    def construct(self, x: Tensor, weights: tuple[Tensor, ...] = ()) -> Tensor:
        if self.vector:
            reduce_weight, reduce_bias, expand_weight, expand_bias = weights[self.first : self.last]
        else:
            reduce_weight, reduce_bias, expand_weight, expand_bias = self.own
        kind = self.multiply
        scale = self.mean(x).astype(kind)
        scale = self.reduce(scale, reduce_weight.astype(kind), reduce_bias.astype(kind))
        scale = self.expand(self.relu(scale), expand_weight.astype(kind), expand_bias.astype(kind))
        return x * self.sigmoid(scale.astype(self.between))


class _CutChannels(nn.Cell):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def construct(self, x: Tensor) -> Tensor:
        return x[:, : self.channels]


class _AddChannels(nn.Cell):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.concatenate = ops.Concat(1)

    def construct(self, x: Tensor) -> Tensor:
        images, _, height, width = x.shape
        return self.concatenate((x, ops.zeros((images, self.channels, height, width), x.dtype)))


class _Dense(_Weighted):
    def __init__(self, layer: Dense, weights: Weights, options: _Options) -> None:
        super().__init__((f"{layer.name}.weight", f"{layer.name}.bias"), weights, options)
        self.kind = options.multiply
        self.multiply = operators.dense(npu=options.npu)

    def construct(self, x: Tensor, weights: tuple[Tensor, ...] = ()) -> Tensor:
        if self.vector:
            weight, bias = weights[self.first : self.last]
        else:
            weight, bias = self.own
        x = self.multiply(x.astype(self.kind), weight.astype(self.kind), bias.astype(self.kind))
        return x.astype(mindspore.float32)
