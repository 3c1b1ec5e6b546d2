"""Count the parameters and multiply-adds of a lowered network."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from search_space.lowering import BatchNorm, Convolution, Dense, Layer, LoweredNetwork, SqueezeExcite


@dataclass(frozen=True)
class ParameterSpec:
    """One weight or statistic tensor of a network; batch-norm mean and variance are not trained."""

    name: str
    shape: tuple[int, ...]
    trainable: bool = True

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Cost:
    """The size and work of a network.

    Attributes:
        trainable_params: Number of trained values.
        params: Number of all values, batch-norm statistics included.
        multiply_adds: Multiply-adds for one image.
    """

    trainable_params: int
    params: int
    multiply_adds: int


def parameters(network: LoweredNetwork) -> tuple[ParameterSpec, ...]:
    """Return every parameter in the order of the layers; names are unique."""
    return tuple(parameter for layer in network.layers() for parameter in layer_parameters(layer))


def layer_parameters(layer: Layer) -> tuple[ParameterSpec, ...]:
    """Return the parameters of one layer."""
    match layer:
        case Convolution(name, in_channels, out_channels, kernel, groups=groups):
            return (ParameterSpec(f"{name}.weight", (out_channels, in_channels // groups, kernel, kernel)),)
        case BatchNorm(name, channels):
            return (
                ParameterSpec(f"{name}.gamma", (channels,)),
                ParameterSpec(f"{name}.beta", (channels,)),
                ParameterSpec(f"{name}.moving_mean", (channels,), trainable=False),
                ParameterSpec(f"{name}.moving_variance", (channels,), trainable=False),
            )
        case SqueezeExcite(name, channels, reduced):
            return (
                ParameterSpec(f"{name}.reduce.weight", (reduced, channels, 1, 1)),
                ParameterSpec(f"{name}.reduce.bias", (reduced,)),
                ParameterSpec(f"{name}.expand.weight", (channels, reduced, 1, 1)),
                ParameterSpec(f"{name}.expand.bias", (channels,)),
            )
        case Dense(name, in_features, out_features):
            return (
                ParameterSpec(f"{name}.weight", (out_features, in_features)),
                ParameterSpec(f"{name}.bias", (out_features,)),
            )
        case _:
            return ()


def multiply_adds(network: LoweredNetwork) -> int:
    """Return the multiply-adds for one image of convolutions, squeeze-and-excitation and dense layers."""
    return sum(_layer_multiply_adds(layer) for layer in network.layers())


def cost(network: LoweredNetwork) -> Cost:
    """Return the numbers of parameters and multiply-adds."""
    listed = parameters(network)
    return Cost(
        trainable_params=sum(parameter.size for parameter in listed if parameter.trainable),
        params=sum(parameter.size for parameter in listed),
        multiply_adds=multiply_adds(network),
    )


def _layer_multiply_adds(layer: Layer) -> int:
    match layer:
        case Convolution(_, in_channels, out_channels, kernel, _, groups, out_size):
            return out_size**2 * out_channels * (in_channels // groups) * kernel**2
        case SqueezeExcite(_, channels, reduced):
            return 2 * channels * reduced
        case Dense(_, in_features, out_features):
            return in_features * out_features
        case _:
            return 0
