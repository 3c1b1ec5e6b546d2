# mypy: allow-subclassing-any
"""A lowered network of MindSpore's own layers, as in a plain script. Importing this module imports MindSpore."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from search_space.lowering import (
    BATCH_NORM_EPSILON,
    Activation,
    AveragePool,
    BatchNorm,
    Convolution,
    Dense,
    FitChannels,
    GlobalAveragePool,
    Layer,
    LoweredNetwork,
    SqueezeExcite,
    Unit,
)


def plain_network(network: LoweredNetwork, norm_momentum: float) -> nn.Cell:
    """Return the network with MindSpore's initial weights."""
    return nn.SequentialCell([_Unit(unit, norm_momentum) for unit in network.units])


def _layer(layer: Layer, norm_momentum: float) -> nn.Cell:
    match layer:
        case Convolution():
            size = (layer.in_channels, layer.out_channels, layer.kernel, layer.stride)
            return nn.Conv2d(*size, pad_mode="pad", padding=layer.kernel // 2, group=layer.groups)
        case BatchNorm(channels=channels):
            return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, momentum=norm_momentum)
        case Activation(kind=kind):
            return nn.ReLU() if kind == "relu" else nn.ReLU6()
        case SqueezeExcite():
            return _SqueezeExcite(layer)
        case AveragePool(kernel=kernel, stride=stride):
            return nn.AvgPool2d(kernel, stride, pad_mode="same")
        case FitChannels():
            return _FitChannels(layer)
        case GlobalAveragePool():
            return _GlobalAveragePool()
        case Dense():
            return nn.Dense(layer.in_features, layer.out_features)


class _Unit(nn.Cell):
    def __init__(self, unit: Unit, norm_momentum: float) -> None:
        super().__init__()
        self.body = nn.SequentialCell([_layer(layer, norm_momentum) for layer in unit.body])
        self.has_shortcut, self.has_layers = unit.shortcut is not None, bool(unit.shortcut)
        if unit.shortcut:
            self.shortcut = nn.SequentialCell([_layer(layer, norm_momentum) for layer in unit.shortcut])

    def construct(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.has_layers:
            x = self.shortcut(x)
        return y + x if self.has_shortcut else y


class _SqueezeExcite(nn.Cell):
    def __init__(self, layer: SqueezeExcite) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(layer.channels, layer.reduced_channels, 1, has_bias=True)
        self.expand = nn.Conv2d(layer.reduced_channels, layer.channels, 1, has_bias=True)

    def construct(self, x: Tensor) -> Tensor:
        return x * ops.sigmoid(self.expand(ops.relu(self.reduce(ops.mean(x, (2, 3), True)))))


class _FitChannels(nn.Cell):
    def __init__(self, layer: FitChannels) -> None:
        super().__init__()
        self.channels, self.added = layer.out_channels, layer.out_channels - layer.in_channels

    def construct(self, x: Tensor) -> Tensor:
        if self.added <= 0:
            return x[:, : self.channels]
        images, _, height, width = x.shape
        return ops.concat((x, ops.zeros((images, self.added, height, width), x.dtype)), 1)


class _GlobalAveragePool(nn.Cell):
    def construct(self, x: Tensor) -> Tensor:
        return ops.mean(x, (2, 3))
