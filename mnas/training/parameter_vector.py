# mypy: allow-subclassing-any
"""The parameters of a network, or their gradients, as one vector: all in their order, one after the other.

Importing this module imports MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

from mindspore import ParameterTuple, Tensor, nn, ops


class Concatenate(nn.Cell):
    """A cell that turns a tuple of tensors into one vector."""

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.map = ops.HyperMap()

    def construct(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """Concatenate the tensors."""
        if len(tensors) == 1:
            return _flat(tensors[0])
        return _concatenate(self.map(_flat, tensors))


class SubtractFrom(nn.Cell):
    """A cell that subtracts from each parameter its part of a vector; its output is for `ops.depend`."""

    def __init__(self, parameters: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = parameters
        self.sizes = tuple(parameter.size for parameter in parameters)
        self.starts = tuple(sum(self.sizes[:index]) for index in range(len(self.sizes)))
        self.map = ops.HyperMap()

    def construct(self, vector: Tensor) -> Tensor:
        """Subtract the vector."""
        return self.map(ops.partial(_subtract, vector), self.starts, self.parameters)


# Primitives compile faster than the functions of the same names.
_reshape, _concatenate, _slice, _assign_sub = ops.Reshape(), ops.Concat(), ops.Slice(), ops.AssignSub()


def _flat(tensor: Tensor) -> Tensor:
    return _reshape(tensor, (-1,))


def _subtract(vector: Tensor, start: int, parameter: Tensor) -> Tensor:
    return _assign_sub(parameter, _reshape(_slice(vector, (start,), (parameter.size,)), parameter.shape))
