"""Lowering: an architecture as primitive layers with shapes and parameter names.

Counters, MindSpore network, ONNX graph and the mapping of checkpoints all read this one list of layers. So they agree,
and weights are exchanged by name.

The paper leaves two things open. Here
- a `conv` layer is convolution, batch norm, activation, then squeeze-and-excitation if there is any;
- the "pool" skip is a 3x3 average pooling of the layer's input at the layer's stride. If the number of channels
  changes, channels are cut off or zero channels are appended (without parameters, like shortcut A of ResNet).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields

from search_space.architecture import ActivationKind, Architecture, Block
from search_space.errors import SpaceError

BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.99  # the share of the old statistics kept at each step (TensorFlow's convention)
STEM_KERNEL = 3
POOL_SKIP_KERNEL = 3
# Bounds of what is lowered; networks for phones stay far below.
MAX_BLOCK_LAYERS = 10_000
MAX_ELEMENTS = 2**28  # of the activations of one image after one layer: 1 GiB of float32
MAX_WEIGHTS = 2**30  # of a network: 4 GiB of float32


@dataclass(frozen=True)
class Convolution:
    """A square convolution without bias, padded by kernel // 2; weight of shape (out, in / groups, k, k)."""

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    groups: int
    out_size: int


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation over `channels`, epsilon 1e-3, momentum 0.99."""

    name: str
    channels: int


@dataclass(frozen=True)
class Activation:
    """An element-wise non-linearity."""

    kind: ActivationKind


@dataclass(frozen=True)
class SqueezeExcite:
    """Squeeze-and-excitation: the input times weights of its channels.

    The weights are global mean, 1x1 convolution to `reduced_channels`, ReLU, 1x1 convolution back, sigmoid; the
    convolutions have biases.
    """

    name: str
    channels: int
    reduced_channels: int


@dataclass(frozen=True)
class AveragePool:
    """Average pooling to ceil(input / stride), with TensorFlow's SAME padding, which is not averaged."""

    kernel: int
    stride: int
    channels: int
    out_size: int


@dataclass(frozen=True)
class FitChannels:
    """Removal of channels, or addition of zero channels, at the end of the channel axis."""

    in_channels: int
    out_channels: int


@dataclass(frozen=True)
class GlobalAveragePool:
    """Mean over height and width: (N, C, H, W) to (N, C)."""

    channels: int


@dataclass(frozen=True)
class Dense:
    """A fully connected layer with bias; weight of shape (out, in)."""

    name: str
    in_features: int
    out_features: int


Layer = Convolution | BatchNorm | Activation | SqueezeExcite | AveragePool | FitChannels | GlobalAveragePool | Dense


@dataclass(frozen=True)
class Unit:
    """Layers applied in order, and a shortcut whose result on the same input is added.

    Attributes:
        name: Start of the names of its parameters.
        body: The layers.
        shortcut: The layers of the shortcut; empty for the identity, None for no shortcut.
    """

    name: str
    body: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] | None = None


@dataclass(frozen=True)
class LoweredNetwork:
    """A network as a chain of units.

    The input has the shape (N, channels, image_size, image_size), the output (N, num_classes).
    """

    image_size: int
    channels: int
    num_classes: int
    units: tuple[Unit, ...]

    def layers(self) -> Iterator[Layer]:
        """Yield every layer, each unit's shortcut after its body."""
        for unit in self.units:
            yield from unit.body
            yield from unit.shortcut or ()


def lower(
    architecture: Architecture, *, image_size: int = 224, channels: int = 3, num_classes: int = 1000
) -> LoweredNetwork:
    """Return the layers of an architecture for square images.

    Args:
        architecture: The architecture.
        image_size: Edge of the images in pixels.
        channels: Channels of the images.
        num_classes: Number of classes.

    Raises:
        SpaceError: A size is below 1, or the network is too large.
    """
    for what, value in (("image_size", image_size), ("channels", channels), ("num_classes", num_classes)):
        if value < 1:
            raise SpaceError(f"{what} is {value}; it must be at least 1")
    if (layers := sum(block.layers for block in architecture.blocks)) > MAX_BLOCK_LAYERS:
        raise SpaceError(f"the blocks have {layers} layers; at most {MAX_BLOCK_LAYERS} are possible, so use fewer")
    activation = Activation(architecture.activation)
    width, size = architecture.stem_filters, _strided(image_size, architecture.stem_stride)
    stem = Convolution("stem.conv", channels, width, STEM_KERNEL, architecture.stem_stride, groups=1, out_size=size)
    units = [Unit("stem", (stem, BatchNorm("stem.norm", width), activation))]
    for block_index, block in enumerate(architecture.blocks):
        for layer_index in range(block.layers):
            stride = block.stride if layer_index == 0 else 1
            declared_width = block.in_filters if layer_index == 0 else block.out_filters
            name = f"blocks.{block_index}.{layer_index}"
            place = _Place(
                name,
                block,
                width=width,
                declared_width=declared_width,
                stride=stride,
                in_size=size,
                out_size=_strided(size, stride),
                activation=activation,
            )
            body = _conv_body(place) if block.op == "conv" else _mbconv_body(place)
            units.append(Unit(name, body, _shortcut(place)))
            width, size = block.out_filters, place.out_size
    head = architecture.head_filters
    head_body = (
        _pointwise("head.conv", width, head, size),
        BatchNorm("head.norm", head),
        activation,
        GlobalAveragePool(head),
    )
    units += [Unit("head", head_body), Unit("classifier", (Dense("classifier", head, num_classes),))]
    network = LoweredNetwork(image_size, channels, num_classes, tuple(units))
    _check_sizes(network)
    return network


def _check_sizes(network: LoweredNetwork) -> None:
    """Raise SpaceError for a network that no machine can hold, before anything is allocated for it."""
    _require_at_most("the input", network.channels * network.image_size**2, MAX_ELEMENTS)
    weights = 0
    for layer in network.layers():
        if isinstance(layer, Convolution):
            _require_at_most(layer.name, layer.out_channels * layer.out_size**2, MAX_ELEMENTS)
            weights += layer.out_channels * (layer.in_channels // layer.groups) * layer.kernel**2
        elif isinstance(layer, AveragePool):
            _require_at_most("a pooling", layer.channels * layer.out_size**2, MAX_ELEMENTS)
        elif isinstance(layer, SqueezeExcite):
            weights += 2 * layer.channels * layer.reduced_channels
        elif isinstance(layer, Dense):
            weights += layer.in_features * layer.out_features
    _require_at_most("the network (weights)", weights, MAX_WEIGHTS)


def _require_at_most(what: str, elements: int, limit: int) -> None:
    if elements > limit:
        raise SpaceError(
            f"{what} has {elements:.3g} elements; at most {limit:,} are possible, so use smaller images or fewer "
            "filters, layers or classes"
        )


def fingerprint(architecture: Architecture) -> str:
    """Return 16 hexadecimal digits that are equal if and only if two architectures are the same network.

    Decisions without effect do not count: an identity skip between different shapes, the grouping of layers into
    blocks.
    """
    network = lower(architecture)
    text = json.dumps([unit_structure(unit) for unit in network.units], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def unit_structure(unit: Unit) -> list[object]:
    """Return body and shortcut of a unit as plain data, without names and spatial sizes.

    Units of equal structure compute the same function of their weights.
    """
    return [_structure(unit.body), _structure(unit.shortcut)]


def _structure(layers: tuple[Layer, ...] | None) -> list[object] | None:
    if layers is None:
        return None
    return [
        [
            type(layer).__name__,
            {
                field.name: getattr(layer, field.name)
                for field in fields(layer)
                if field.name not in ("name", "out_size")
            },
        ]
        for layer in layers
    ]


@dataclass(frozen=True)
class _Place:
    """One layer of a block and its place in the network; `width` and `in_size` are those of its input tensor."""

    name: str
    block: Block
    width: int
    declared_width: int
    stride: int
    in_size: int
    out_size: int
    activation: Activation


def _conv_body(place: _Place) -> tuple[Layer, ...]:
    name, block, out = place.name, place.block, place.block.out_filters
    return (
        Convolution(f"{name}.conv", place.width, out, block.kernel, place.stride, groups=1, out_size=place.out_size),
        BatchNorm(f"{name}.conv_norm", out),
        place.activation,
        *_squeeze_excite(place, out),
    )


def _mbconv_body(place: _Place) -> tuple[Layer, ...]:
    name, block, out = place.name, place.block, place.block.out_filters
    expanded = place.width * block.expand
    expansion: tuple[Layer, ...] = ()
    if block.expand > 1:
        expansion = (
            _pointwise(f"{name}.expand", place.width, expanded, place.in_size),
            BatchNorm(f"{name}.expand_norm", expanded),
            place.activation,
        )
    return (
        *expansion,
        Convolution(
            f"{name}.depthwise",
            expanded,
            expanded,
            block.kernel,
            place.stride,
            groups=expanded,
            out_size=place.out_size,
        ),
        BatchNorm(f"{name}.depthwise_norm", expanded),
        place.activation,
        *_squeeze_excite(place, expanded),
        _pointwise(f"{name}.project", expanded, out, place.out_size),
        BatchNorm(f"{name}.project_norm", out),
    )


def _pointwise(name: str, in_channels: int, out_channels: int, size: int) -> Convolution:
    return Convolution(name, in_channels, out_channels, kernel=1, stride=1, groups=1, out_size=size)


def _squeeze_excite(place: _Place, channels: int) -> tuple[Layer, ...]:
    if place.block.se_ratio == 0:
        return ()
    reduced = max(1, int(place.declared_width * place.block.se_ratio))
    return (SqueezeExcite(f"{place.name}.se", channels, reduced),)


def _shortcut(place: _Place) -> tuple[Layer, ...] | None:
    out = place.block.out_filters
    if place.block.skip == "identity":
        same = place.stride == 1 and place.width == out and place.declared_width == out
        return () if same else None
    if place.block.skip == "pool":
        pool = AveragePool(POOL_SKIP_KERNEL, place.stride, place.width, place.out_size)
        return (pool,) if place.width == out else (pool, FitChannels(place.width, out))
    return None


def _strided(size: int, stride: int) -> int:
    return -(-size // stride)
