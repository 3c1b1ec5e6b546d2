# mypy: allow-subclassing-any
"""The trained weights of a network as one parameter, and the weights by name of a network in either form.

An NPU starts a kernel for each weight that a step changes, and only one if all of them are one vector. The kernels of
`mnas.kernels` for the CPU take one vector, too.

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.ops.auto_generate import SplitWithSize

from mnas.kernels.operators import network_operator, norm_rule
from mnas.kernels.program import Program
from mnas.network.weights import FloatArray, Weights
from search_space.counting import ParameterSpec
from search_space.lowering import BATCH_NORM_EPSILON


class OneVectorNetwork(nn.Cell):
    """A network whose trained weights are one vector.

    Attributes:
        specs: All weights and statistics in their order. The vector has the trained ones, one after the other.
        vector: The vector.
    """

    def __init__(self, specs: Sequence[ParameterSpec], weights: Weights) -> None:
        super().__init__(auto_prefix=False)
        self.specs = tuple(specs)
        self.vector = Parameter(Tensor(join_vector(weights, _trained(specs))), name="weights")


class VectorNetwork(OneVectorNetwork):
    """A network of cells that take their weights from one vector; its statistics are parameters of their own."""

    def __init__(
        self, features: list[nn.Cell], classifier: nn.Cell, specs: Sequence[ParameterSpec], weights: Weights
    ) -> None:
        """Build.

        Args:
            features: Cells that are applied in their order to (x, all trained weights in their shapes).
            classifier: The last of them, before which the dropout mask is applied.
            specs: See the attribute.
            weights: Weights by name.
        """
        super().__init__(specs, weights)
        self.features = nn.CellList(features, auto_prefix=False)
        self.classifier = classifier
        trained = _trained(specs)
        self.sizes, self.shapes = tuple(spec.size for spec in trained), tuple(spec.shape for spec in trained)
        self.split = SplitWithSize()
        self.map = ops.Map()

    def construct(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the logits (N, classes) of images (N, C, H, W)."""
        return self.logits(x, mask, self.weights())

    def weights(self) -> Any:
        """Return the trained weights in their shapes, a tuple of tensors."""
        return self.map(_in_shape, self.split(self.vector, self.sizes, 0), self.shapes)

    def logits(self, x: Tensor, mask: Tensor | None, weights: tuple[Tensor, ...]) -> Tensor:
        """Return the logits by the weights that `weights` returns, or by others."""
        for cell in self.features:
            x = cell(x, weights)
        if mask is not None:
            x = x * mask.astype(x.dtype)
        return self.classifier(x, weights)


_reshape = ops.Reshape()


def _in_shape(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    return _reshape(part, shape)


class KernelNetwork(OneVectorNetwork):
    """A network in training that is one operator of `mnas.kernels`; its statistics are one vector, too."""

    def __init__(
        self, program: Program, specs: Sequence[ParameterSpec], weights: Weights, *, norm_momentum: float
    ) -> None:
        """Build.

        Args:
            program: The layers.
            specs: All weights and statistics in their order.
            weights: Weights by name.
            norm_momentum: Share of the old moving statistics that batch norms keep at each step.
        """
        super().__init__(specs, weights)
        moving = Tensor(join_vector(weights, _moving(specs)))
        self.statistics = Parameter(moving, name="statistics", requires_grad=False)
        self.table = Tensor(program.table())
        self.rule = norm_rule(BATCH_NORM_EPSILON, norm_momentum)
        self.no_mask = Tensor(np.ones(1, np.float32))
        self.run = network_operator(program)
        self.reshape = ops.Reshape()

    def construct(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the logits (N, classes) of images (N, C, H, W)."""
        factors = self.no_mask if mask is None else mask
        y, _ = self.run(x, self.vector, self.statistics, self.table, self.rule, factors)
        return self.reshape(y, (x.shape[0], -1))


def _trained(specs: Sequence[ParameterSpec]) -> list[ParameterSpec]:
    return [spec for spec in specs if spec.trainable]


def _moving(specs: Sequence[ParameterSpec]) -> list[ParameterSpec]:
    return [spec for spec in specs if not spec.trainable]


def parameter_specs(network: nn.Cell) -> tuple[ParameterSpec, ...]:
    """Return the weights and statistics of a network in their order."""
    if isinstance(network, OneVectorNetwork):
        return tuple(network.specs)
    return tuple(ParameterSpec(each.name, tuple(each.shape), each.requires_grad) for each in network.get_parameters())


def named_arrays(network: nn.Cell) -> dict[str, FloatArray]:
    """Return copies of the weights and statistics of a network by name, in their order."""
    arrays = {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}
    if not isinstance(network, OneVectorNetwork):
        return arrays
    arrays |= split_vector(arrays[network.vector.name], _trained(network.specs))
    if isinstance(network, KernelNetwork):
        arrays |= split_vector(arrays[network.statistics.name], _moving(network.specs))
    return {spec.name: arrays[spec.name] for spec in network.specs}


def load_arrays(network: nn.Cell, arrays: Weights) -> None:
    """Give a network other weights and statistics, by name; a compiled graph stays."""
    values = dict(arrays)
    if isinstance(network, OneVectorNetwork):
        values[network.vector.name] = join_vector(arrays, _trained(network.specs))
    if isinstance(network, KernelNetwork):
        values[network.statistics.name] = join_vector(arrays, _moving(network.specs))
    for parameter in network.get_parameters():
        parameter.set_data(Tensor(values[parameter.name]))


def split_vector(vector: FloatArray, specs: Sequence[ParameterSpec]) -> dict[str, FloatArray]:
    """Return copies of the parts of a vector, by name and in their shapes."""
    parts = np.split(vector, np.cumsum([spec.size for spec in specs])[:-1])
    return {spec.name: part.reshape(spec.shape).copy() for spec, part in zip(specs, parts, strict=True)}


def join_vector(arrays: Weights, specs: Sequence[ParameterSpec]) -> FloatArray:
    """Return the arrays of these names, one after the other."""
    return np.concatenate([arrays[spec.name].ravel() for spec in specs], dtype=np.float32)
