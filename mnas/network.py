# mypy: allow-subclassing-any
"""The MindSpore network of a lowered architecture.

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.

Parameters carry the names, shapes and order of `search_space.counting.parameters`. One cell per convolution group and
direct primitives: of the forms tried this one compiles fastest (`mnas.fusion`).
"""

from __future__ import annotations

from math import inf

import mindspore
from mindspore import Parameter, Tensor, nn, ops

from mnas.fusion import ConvolutionGroup, fuse
from mnas.kernels.operators import (
    batch_norm,
    batch_norm_rule,
    depthwise_convolution,
    has_depthwise_kernel,
    squeeze_excite,
)
from mnas.weights import FloatArray, Weights, check_weights
from search_space.lowering import (
    BATCH_NORM_EPSILON,
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
    dropout: float = 0.0,
    seed: int = 0,
    norm_momentum: float = BATCH_NORM_MOMENTUM,
    kernels: bool = False,
) -> nn.Cell:
    """Build the network with `weights`: (N, channels, image_size, image_size) float32 in, logits (N, num_classes) out.

    In training mode (`set_train()`) batch norms use the batch's statistics, of which the moving ones keep a share
    `norm_momentum` of the old at each step, and a share `dropout` of the classifier's inputs is dropped, drawn from
    `seed`. `kernels` computes with `mnas.kernels` in training mode what they do faster than MindSpore. Raises
    WeightsError where `weights` are those of another network.
    """
    check_weights(network, weights)
    units = [cell for unit in network.units for cell in _unit_cells(unit, weights, norm_momentum, kernels)]
    if dropout > 0:
        units.insert(len(units) - 1, _Dropout(dropout, seed))
    return _Chain(units)


def network_weights(cell: nn.Cell) -> dict[str, FloatArray]:
    """Return copies of the weights of a network built by `build_network`."""
    return {parameter.name: parameter.asnumpy().copy() for parameter in cell.get_parameters()}


def _unit_cells(unit: Unit, weights: Weights, norm_momentum: float, kernels: bool) -> list[nn.Cell]:
    body = [_cell(layer, weights, norm_momentum, kernels) for layer in fuse(unit.body)]
    if unit.shortcut is None:
        return body
    return [_Residual(body, [_cell(layer, weights, norm_momentum, kernels) for layer in fuse(unit.shortcut)])]


def _cell(layer: Layer | ConvolutionGroup, weights: Weights, norm_momentum: float, kernels: bool) -> nn.Cell:
    match layer:
        case ConvolutionGroup():
            return _ConvolutionGroup(layer, weights, norm_momentum, kernels)
        case SqueezeExcite():
            return _SqueezeExcite(layer, weights, kernels)
        case AveragePool(kernel, stride):
            return nn.AvgPool2d(kernel, stride, pad_mode="same")
        case FitChannels(in_channels, out_channels):
            added = out_channels - in_channels
            return _AddChannels(added) if added > 0 else _CutChannels(out_channels)
        case GlobalAveragePool():
            return _GlobalAveragePool()
        case Dense():
            return _Dense(layer, weights)
        case _:
            raise AssertionError(f"no cell for {layer}")


def _parameter(name: str, weights: Weights, *, trainable: bool = True) -> Parameter:
    return Parameter(Tensor(weights[name], mindspore.float32), name=name, requires_grad=trainable)


def _activation(activation: Activation) -> ops.Primitive:
    return {"relu": ops.ReLU, "relu6": ops.ReLU6}[activation.kind]()


def _bounds(activation: Activation | None) -> tuple[float, float]:
    if activation is None:
        return -inf, inf
    return {"relu": (0.0, inf), "relu6": (0.0, 6.0)}[activation.kind]


class _Chain(nn.Cell):
    def __init__(self, cells: list[nn.Cell]) -> None:
        super().__init__(auto_prefix=False)
        self.links = nn.CellList(cells, auto_prefix=False)

    def construct(self, x: Tensor) -> Tensor:
        for cell in self.links:
            x = cell(x)
        return x


class _Residual(nn.Cell):
    def __init__(self, body: list[nn.Cell], shortcut: list[nn.Cell]) -> None:
        super().__init__(auto_prefix=False)
        self.body = nn.CellList(body, auto_prefix=False)
        self.shortcut = nn.CellList(shortcut, auto_prefix=False)

    def construct(self, x: Tensor) -> Tensor:
        y = x
        for cell in self.body:
            y = cell(y)
        for cell in self.shortcut:
            x = cell(x)
        return y + x


class _ConvolutionGroup(nn.Cell):
    def __init__(self, group: ConvolutionGroup, weights: Weights, norm_momentum: float, kernels: bool) -> None:
        super().__init__(auto_prefix=False)
        convolution, norm = group.convolution, group.norm.name
        self.weight = _parameter(f"{convolution.name}.weight", weights)
        self.gamma = _parameter(f"{norm}.gamma", weights)
        self.beta = _parameter(f"{norm}.beta", weights)
        self.moving_mean = _parameter(f"{norm}.moving_mean", weights, trainable=False)
        self.moving_variance = _parameter(f"{norm}.moving_variance", weights, trainable=False)
        self.convolve = ops.Conv2D(
            convolution.out_channels,
            convolution.kernel,
            pad_mode="pad",
            pad=convolution.kernel // 2,
            stride=convolution.stride,
            group=convolution.groups,
        )
        # The primitive's momentum is the share of the *new* statistics.
        self.train_norm = ops.BatchNorm(is_training=True, epsilon=BATCH_NORM_EPSILON, momentum=1.0 - norm_momentum)
        self.infer_norm = ops.BatchNorm(is_training=False, epsilon=BATCH_NORM_EPSILON)
        self.activated = group.activation is not None
        if group.activation is not None:
            self.activate = _activation(group.activation)
        self.kernels = kernels
        if kernels:
            if has_depthwise_kernel(convolution):
                self.convolve = depthwise_convolution(convolution.stride)
            self.norm_and_activate = batch_norm()
            self.rule = batch_norm_rule(BATCH_NORM_EPSILON, norm_momentum, *_bounds(group.activation))

    def construct(self, x: Tensor) -> Tensor:
        x = self.convolve(x, self.weight)
        if self.kernels and self.training:
            state = (self.gamma, self.beta, self.moving_mean, self.moving_variance)
            return self.norm_and_activate(x, *state, self.rule)[0]
        if self.training:
            x = self.train_norm(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]
        else:
            x = self.infer_norm(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]
        if self.activated:
            x = self.activate(x)
        return x


class _SqueezeExcite(nn.Cell):
    # 1x1 convolutions on a kept (1, 1) plane leave the batch size free; dense layers would bake it in on export.
    def __init__(self, layer: SqueezeExcite, weights: Weights, kernels: bool) -> None:
        super().__init__(auto_prefix=False)
        self.reduce_weight = _parameter(f"{layer.name}.reduce.weight", weights)
        self.reduce_bias = _parameter(f"{layer.name}.reduce.bias", weights)
        self.expand_weight = _parameter(f"{layer.name}.expand.weight", weights)
        self.expand_bias = _parameter(f"{layer.name}.expand.bias", weights)
        self.mean = ops.ReduceMean(keep_dims=True)
        self.reduce = ops.Conv2D(layer.reduced_channels, 1)
        self.expand = ops.Conv2D(layer.channels, 1)
        self.add_bias = ops.BiasAdd()
        self.relu = ops.ReLU()
        self.sigmoid = ops.Sigmoid()
        self.kernels = kernels
        if kernels:
            self.squeeze_excite = squeeze_excite()

    def construct(self, x: Tensor) -> Tensor:
        if self.kernels and self.training:
            weights = (self.reduce_weight, self.reduce_bias, self.expand_weight, self.expand_bias)
            return self.squeeze_excite(x, *weights)[0]
        scale = self.mean(x, (2, 3))
        scale = self.relu(self.add_bias(self.reduce(scale, self.reduce_weight), self.reduce_bias))
        scale = self.sigmoid(self.add_bias(self.expand(scale, self.expand_weight), self.expand_bias))
        return x * scale


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


class _GlobalAveragePool(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.mean = ops.ReduceMean()

    def construct(self, x: Tensor) -> Tensor:
        return self.mean(x, (2, 3))


class _Dropout(nn.Cell):
    def __init__(self, rate: float, seed: int) -> None:
        super().__init__()
        self.drop = ops.Dropout(keep_prob=1 - rate, Seed0=seed, Seed1=seed)

    def construct(self, x: Tensor) -> Tensor:
        return self.drop(x)[0] if self.training else x


class _Dense(nn.Cell):
    def __init__(self, layer: Dense, weights: Weights) -> None:
        super().__init__(auto_prefix=False)
        self.weight = _parameter(f"{layer.name}.weight", weights)
        self.bias = _parameter(f"{layer.name}.bias", weights)
        self.multiply = ops.MatMul(transpose_b=True)
        self.add_bias = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        return self.add_bias(self.multiply(x, self.weight), self.bias)
