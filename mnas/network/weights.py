"""The weights of a network as NumPy arrays by parameter name: initial values, checks, folded batch norms."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray

from mnas.errors import WeightsError
from mnas.network.fusion import ConvolutionGroup
from search_space.counting import ParameterSpec, layer_parameters, parameters
from search_space.lowering import BATCH_NORM_EPSILON, Convolution, Dense, Layer, LoweredNetwork, SqueezeExcite

FloatArray = NDArray[np.float32]
Weights = Mapping[str, FloatArray]


def initial_weights(network: LoweredNetwork, seed: int) -> dict[str, FloatArray]:
    """Draw the initial weights of a network; they depend on the network and the seed only.

    As in the official MnasNet code: convolutions are normal with variance 2 / fan out, and the fan out is
    kernel^2 x output filters of one group; the dense layer is uniform in +-1 / sqrt(outputs); biases and batch-norm
    beta and mean are 0, gamma and variance 1.
    """
    generator = np.random.default_rng(seed)
    return {
        parameter.name: _initial_value(layer, parameter, generator)
        for layer in network.layers()
        for parameter in layer_parameters(layer)
    }


def _initial_value(layer: Layer, parameter: ParameterSpec, generator: np.random.Generator) -> FloatArray:
    kind = parameter.name.rpartition(".")[2]
    if kind in ("bias", "beta", "moving_mean"):
        return np.zeros(parameter.shape, np.float32)
    if kind in ("gamma", "moving_variance"):
        return np.ones(parameter.shape, np.float32)
    match layer:
        case Dense(out_features=outputs):
            limit = 1 / sqrt(outputs)
            return generator.uniform(-limit, limit, parameter.shape).astype(np.float32)
        case Convolution(groups=groups):
            return _he_normal(parameter.shape, groups, generator)
        case SqueezeExcite():
            return _he_normal(parameter.shape, 1, generator)
        case _:
            raise AssertionError(f"no rule for the initial value of {parameter.name}")


def _he_normal(shape: tuple[int, ...], groups: int, generator: np.random.Generator) -> FloatArray:
    fan_out = shape[0] // groups * prod(shape[2:])
    return (generator.standard_normal(shape) * sqrt(2 / fan_out)).astype(np.float32)


def check_weights(network: LoweredNetwork, weights: Weights) -> None:
    """Check that `weights` has exactly the network's parameters, each in its shape.

    Raises:
        WeightsError: A parameter has no weights, weights have no parameter, or a shape differs.
    """
    expected = {parameter.name: parameter.shape for parameter in parameters(network)}
    if missing := sorted(expected.keys() - weights.keys()):
        raise WeightsError(f"{len(missing)} parameters have no weights, the first is {missing[0]!r}; give all of them")
    if unknown := sorted(weights.keys() - expected.keys()):
        raise WeightsError(
            f"{len(unknown)} weights belong to no parameter, the first is {unknown[0]!r}; "
            "they are those of another network"
        )
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise WeightsError(f"weights {name!r} have shape {weights[name].shape}, the network needs {shape}")


def fold_batch_norm(group: ConvolutionGroup, weights: Weights) -> tuple[FloatArray, FloatArray]:
    """Return weight and bias of the one convolution that equals a group in inference, without its activation.

    conv(x) x s + (beta - mean x s) with s = gamma / sqrt(variance + epsilon), computed in float64.
    """
    gamma, beta, mean, variance = (
        weights[f"{group.norm.name}.{part}"].astype(np.float64)
        for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    weight = weights[f"{group.convolution.name}.weight"] * scale[:, None, None, None]
    return weight.astype(np.float32), (beta - mean * scale).astype(np.float32)
