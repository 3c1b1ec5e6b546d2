"""Weights under the names of MindCV's `Mnasnet`: its published checkpoints load here, and ours load there.

MindCV (mindcv/models/mnasnet.py, version 0.3) puts the layers of the stem, of the first block and of the head one after
the other into the list `features`. Every other block layer is one entry of it, with a list `layers` of its own. Layers
are named by their place, activations counted: the first convolution is `features.0.weight`, its batch norm
`features.1.gamma` and so on. The first convolution of the second block is `features.8.layers.0.weight`, and the
classifier's weights are `classifier.weight`.

MindCV's definition has MnasNet-B1's form only: other networks have no such names.
"""

from __future__ import annotations

from collections.abc import Iterable

from mnas.errors import WeightsError
from mnas.network.weights import FloatArray, Weights, check_weights
from search_space.counting import layer_parameters
from search_space.lowering import Activation, BatchNorm, Convolution, Layer, LoweredNetwork, Unit

_PREFIX = "features."
_CONVOLUTION = (Convolution, BatchNorm, Activation)
_SEPARABLE = (*_CONVOLUTION, Convolution, BatchNorm)
_INVERTED_RESIDUAL = (*_CONVOLUTION, *_CONVOLUTION, Convolution, BatchNorm)


def has_mindcv_names(names: Iterable[str]) -> bool:
    """Return whether names of weights are those of MindCV's layout."""
    return any(name.startswith(_PREFIX) for name in names)


def from_mindcv(network: LoweredNetwork, weights: Weights) -> dict[str, FloatArray]:
    """Return MindCV's weights of a network under our names.

    Raises:
        WeightsError: A name is missing, left over or of another shape, or MindCV has no such network.
    """
    names = mindcv_names(network)
    if missing := sorted(set(names.values()) - weights.keys()):
        raise WeightsError(
            f"{len(missing)} of MindCV's names are missing, the first is {missing[0]!r}; "
            "the weights are those of another network"
        )
    if unknown := sorted(weights.keys() - set(names.values())):
        raise WeightsError(
            f"{len(unknown)} names belong to no parameter, the first is {unknown[0]!r}; "
            "the weights are those of another network"
        )
    renamed = {ours: weights[theirs] for ours, theirs in names.items()}
    check_weights(network, renamed)
    return renamed


def to_mindcv(network: LoweredNetwork, weights: Weights) -> dict[str, FloatArray]:
    """Return our weights of a network under MindCV's names.

    Raises:
        WeightsError: The weights are those of another network, or MindCV has no such network.
    """
    check_weights(network, weights)
    return {theirs: weights[ours] for ours, theirs in mindcv_names(network).items()}


def mindcv_names(network: LoweredNetwork) -> dict[str, str]:
    """Return MindCV's name of every parameter by our name, in the order of the layers.

    Raises:
        WeightsError: The network is not of MnasNet-B1's form.
    """
    stem, first, *blocks, head, classifier = network.units
    _check(first, _SEPARABLE, residual=False)
    for block in blocks:
        _check(block, _INVERTED_RESIDUAL, residual=_keeps_shape(block))
    # The classifier has the same name in both; the global mean at the end of the head is not in MindCV's list.
    layers = [(f"{_PREFIX}{place}", layer) for place, layer in enumerate((*stem.body, *first.body))]
    places = len(layers)
    for number, block in enumerate(blocks, start=places):
        layers += [(f"{_PREFIX}{number}.layers.{place}", layer) for place, layer in enumerate(block.body)]
    places += len(blocks)
    layers += [(f"{_PREFIX}{place}", layer) for place, layer in enumerate(head.body, start=places)]
    layers += [("classifier", layer) for layer in classifier.body]
    return {ours: f"{theirs}.{ours.rpartition('.')[2]}" for theirs, layer in layers for ours in _parameter_names(layer)}


def _parameter_names(layer: Layer) -> list[str]:
    return [parameter.name for parameter in layer_parameters(layer)]


def _keeps_shape(unit: Unit) -> bool:
    convolutions = [layer for layer in unit.body if isinstance(layer, Convolution)]
    strides = {convolution.stride for convolution in convolutions}
    return strides == {1} and convolutions[0].in_channels == convolutions[-1].out_channels


def _check(unit: Unit, form: tuple[type[Layer], ...], *, residual: bool) -> None:
    kinds = tuple(type(layer) for layer in unit.body)
    relu = all(layer.kind == "relu" for layer in unit.body if isinstance(layer, Activation))
    if kinds != form or not relu or unit.shortcut != (() if residual else None):
        raise WeightsError(
            f"{unit.name}: MindCV's mnasnet has no such layer; its layout is for networks of MnasNet-B1's form (one "
            "separable convolution, then inverted residuals without squeeze-and-excitation, all with ReLU)"
        )
