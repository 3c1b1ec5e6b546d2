"""The ONNX graph of a lowered architecture, built directly, with batch norms folded into the convolutions.

A latency measurement needs the structure only. Building the graph takes milliseconds, so it can be measured before the
network is trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import mnas
from mnas.network.fusion import ConvolutionGroup, fuse
from mnas.network.weights import Weights, check_weights, fold_batch_norm, initial_weights
from search_space.lowering import (
    Activation,
    AveragePool,
    Convolution,
    Dense,
    FitChannels,
    GlobalAveragePool,
    Layer,
    LoweredNetwork,
    SqueezeExcite,
    Unit,
)

INPUT_NAME = "input"
OUTPUT_NAME = "logits"
# The newest opset that the runtimes of 2021 and later read (onnxruntime 1.8, its NNAPI provider, common converters).
OPSET = 13
IR_VERSION = 7


def build_onnx(network: LoweredNetwork, weights: Weights | None = None) -> onnx.ModelProto:
    """Build the inference graph of a network.

    Its input `input` is (batch, channels, size, size) float32 and its output `logits` (batch, num_classes) float32. The
    batch size is free.

    Args:
        network: The lowered architecture.
        weights: Weights by parameter name; None takes the initial weights of seed 0.

    Raises:
        WeightsError: The weights are those of another network.
    """
    if weights is None:
        weights = initial_weights(network, seed=0)
    else:
        check_weights(network, weights)
    graph = _Graph(network, weights)
    for unit in network.units:
        graph.add_unit(unit)
    return graph.model()


class _Graph:
    """Nodes and constants of a graph under construction, and the name and size of its last tensor."""

    def __init__(self, network: LoweredNetwork, weights: Weights) -> None:
        self.network = network
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.tensor = INPUT_NAME
        self.size = network.image_size

    def model(self) -> onnx.ModelProto:
        network = self.network
        image = ("batch", network.channels, network.image_size, network.image_size)
        self.nodes[-1].output[0] = OUTPUT_NAME
        graph = helper.make_graph(
            self.nodes,
            "mnas",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, image)],
            [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ("batch", network.num_classes))],
            list(self.constants.values()),
        )
        return helper.make_model(
            graph,
            producer_name="mnas",
            producer_version=mnas.__version__,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )

    def add_unit(self, unit: Unit) -> None:
        entry, entry_size = self.tensor, self.size
        self.add_layers(unit.name, unit.body)
        if unit.shortcut is None:
            return
        body, size = self.tensor, self.size
        self.tensor, self.size = entry, entry_size
        self.add_layers(f"{unit.name}.shortcut", unit.shortcut)
        self.tensor, self.size = self.add("Add", f"{unit.name}.add", (body, self.tensor)), size

    def add_layers(self, place: str, layers: tuple[Layer, ...]) -> None:
        for layer in fuse(layers):
            self.add_layer(place, layer)

    def add_layer(self, place: str, layer: Layer | ConvolutionGroup) -> None:
        match layer:
            case ConvolutionGroup(convolution, _, activation):
                weight, bias = fold_batch_norm(layer, self.weights)
                self.tensor = self.convolve(convolution, weight, bias)
                if activation is not None:
                    self.tensor = self.activate(convolution.name, activation)
            case SqueezeExcite():
                self.tensor = self.squeeze_excite(layer)
            case AveragePool():
                self.tensor = self.average_pool(place, layer)
            case FitChannels():
                self.tensor = self.fit_channels(place, layer)
            case GlobalAveragePool():
                pooled = self.add("GlobalAveragePool", f"{place}.pool", (self.tensor,))
                self.tensor, self.size = self.add("Flatten", f"{place}.flatten", (pooled,), axis=1), 1
            case Dense(name):
                inputs = (self.tensor, self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias"))
                self.tensor = self.add("Gemm", name, inputs, transB=1)
            case _:
                raise AssertionError(f"no ONNX node for {layer}")

    def convolve(self, layer: Convolution, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        self.size = layer.out_size
        inputs = (
            self.tensor,
            self.constant(f"{layer.name}.weight", weight),
            self.constant(f"{layer.name}.bias", bias),
        )
        return self.add(
            "Conv",
            layer.name,
            inputs,
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[layer.kernel // 2] * 4,
            group=layer.groups,
        )

    def activate(self, place: str, activation: Activation) -> str:
        if activation.kind == "relu":
            return self.add("Relu", f"{place}.relu", (self.tensor,))
        bounds = (self.constant("relu6.min", np.float32(0)), self.constant("relu6.max", np.float32(6)))
        return self.add("Clip", f"{place}.relu6", (self.tensor, *bounds))

    def squeeze_excite(self, layer: SqueezeExcite) -> str:
        name, image = layer.name, self.tensor
        scale = self.add("GlobalAveragePool", f"{name}.pool", (image,))
        for part, activation in (("reduce", "Relu"), ("expand", "Sigmoid")):
            weight, bias = self.parameter(f"{name}.{part}.weight"), self.parameter(f"{name}.{part}.bias")
            scale = self.add("Conv", f"{name}.{part}", (scale, weight, bias), kernel_shape=[1, 1])
            scale = self.add(activation, f"{name}.{part}.{activation.lower()}", (scale,))
        return self.add("Mul", f"{name}.mul", (image, scale))

    def average_pool(self, place: str, layer: AveragePool) -> str:
        padding = max(0, (layer.out_size - 1) * layer.stride + layer.kernel - self.size)
        before, after = padding // 2, padding - padding // 2
        self.size = layer.out_size
        return self.add(
            "AveragePool",
            f"{place}.pool",
            (self.tensor,),
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[before, before, after, after],
            count_include_pad=0,
        )

    def fit_channels(self, place: str, layer: FitChannels) -> str:
        if layer.out_channels > layer.in_channels:
            added = layer.out_channels - layer.in_channels
            pads = np.array([0, 0, 0, 0, 0, added, 0, 0], np.int64)
            return self.add("Pad", f"{place}.fill", (self.tensor, self.constant(f"{place}.fill.pads", pads)))
        bounds = (
            self.constant(f"{place}.cut.{what}", np.array([value], np.int64))
            for what, value in (("starts", 0), ("ends", layer.out_channels), ("axes", 1))
        )
        return self.add("Slice", f"{place}.cut", (self.tensor, *bounds))

    def parameter(self, name: str) -> str:
        return self.constant(name, self.weights[name])

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def add(self, op: str, name: str, inputs: Sequence[str], **attributes: int | list[int]) -> str:
        """Append a node and return the name of its output."""
        output = f"{name}:0"
        node = helper.make_node(op, list(inputs), [output], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return output
