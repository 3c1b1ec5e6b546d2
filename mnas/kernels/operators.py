# mypy: allow-subclassing-any
"""The kernels as MindSpore operators with their gradients; all tensors are float32.

They run only on machines that `mnas.kernels.library.machine_has_kernels` accepts. Importing this module imports
MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeAlias

import mindspore
import numpy as np
from mindspore import Tensor, ops
from mindspore.ops import signature

from mnas.kernels.library import LIBRARY
from search_space.lowering import Convolution

Shape: TypeAlias = tuple[int, ...]
Tensors: TypeAlias = Any  # a tuple of tensors; MindSpore has no types

_zeros_like = ops.ZerosLike()  # compiles in a fraction of the time of the function of the same name


def depthwise_convolution(stride: int) -> ops.Custom:
    """Return a depthwise convolution: (x, weight) -> y.

    x is (N, C, H, W) and weight (C, 1, k, k), padded by k // 2; k <= 7, stride 1 or 2.
    """
    gradients = _operator(f"depthwise_gradients_stride_{stride}", lambda x, weight, dy: (x, weight), outputs=2)

    def bprop(x: Tensor, weight: Tensor, y: Tensor, dy: Tensor) -> Tensors:
        return gradients(x, weight, dy)

    return _operator(f"depthwise_stride_{stride}", _convolved(stride), bprop=bprop)


def full_convolution(stride: int) -> ops.Custom:
    """Return a convolution of one group: (x, weight) -> y.

    x is (N, C, H, W) and weight (D, C, k, k), padded by k // 2; k <= 7, stride 1 or 2.
    """
    input_gradient = _operator(f"convolution_input_gradient_stride_{stride}", lambda x, weight, dy: x)
    weight_gradient = _operator(f"convolution_weight_gradient_stride_{stride}", lambda x, weight, dy: weight)

    def bprop(x: Tensor, weight: Tensor, y: Tensor, dy: Tensor) -> Tensors:
        return input_gradient(x, weight, dy), weight_gradient(x, weight, dy)

    return _operator(f"convolution_stride_{stride}", _convolved(stride), bprop=bprop)


def _convolved(stride: int) -> Callable[[Shape, Shape], Shape]:
    """Return a function from the shapes of x and weight to that of y, for both kinds of convolution."""
    return lambda x, weight: (x[0], weight[0], -(-x[2] // stride), -(-x[3] // stride))


def convolution_kernel(convolution: Convolution) -> ops.Custom | None:
    """Return the operator that computes this convolution, None if there is none."""
    if convolution.kernel > 7 or convolution.kernel % 2 == 0 or convolution.stride > 2:
        return None
    if convolution.groups == 1:
        return full_convolution(convolution.stride)
    if convolution.groups == convolution.in_channels == convolution.out_channels:
        return depthwise_convolution(convolution.stride)
    return None


def batch_norm() -> ops.Custom:
    """Return a batch norm in training: (x, gamma, beta, moving_mean, moving_variance, rule) -> (y, ...).

    x and y are (N, C, H, W); `rule` is that of `batch_norm_rule`. The moving statistics are updated in place, as
    MindSpore's operator does.
    """
    gradients = _operator("batch_norm_gradients", lambda x, gamma, beta, *_: (x, gamma, beta), outputs=3)

    def bprop(
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        moving_mean: Tensor,
        moving_variance: Tensor,
        rule: Tensor,
        outputs: tuple[Tensor, ...],
        d_outputs: tuple[Tensor, ...],
    ) -> Tensors:
        dx, dgamma, dbeta = gradients(x, gamma, beta, rule, outputs[1], outputs[2], d_outputs[0])
        return dx, dgamma, dbeta, _zeros_like(moving_mean), _zeros_like(moving_variance), _zeros_like(rule)

    written = (False, False, False, True, True, False)
    return _operator("batch_norm", lambda x, gamma, beta, *_: (x, gamma, beta), outputs=3, bprop=bprop, written=written)


def batch_norm_rule(epsilon: float, momentum: float, low: float, high: float) -> Tensor:
    """Return the rule of a batch norm, shape (4,).

    Args:
        epsilon: Added to the variance.
        momentum: Share of the old moving statistics that is kept.
        low: Lower bound that y is clamped to.
        high: Upper bound that y is clamped to.
    """
    return Tensor(np.array([epsilon, 1 - momentum, low, high], np.float32))


def squeeze_excite() -> ops.Custom:
    """Return a squeeze-and-excite: (x, W1, b1, W2, b2) -> (y, ...).

    x and y are (N, C, H, W), W1 is (R, C, 1, 1) and W2 (C, R, 1, 1); see squeeze_excite.c.
    """
    gradients = _operator("squeeze_excite_gradients", lambda x, w1, w2, *_: (x, w1, w1[:1], w2, w2[:1]), outputs=5)

    def output(x: Shape, w1: Shape, b1: Shape, w2: Shape, b2: Shape) -> tuple[Shape, ...]:
        return (x, x[:2], (x[0], b1[0]), x[:2])

    def bprop(
        x: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
        outputs: tuple[Tensor, ...],
        d_outputs: tuple[Tensor, ...],
    ) -> Tensors:
        return gradients(x, w1, w2, outputs[1], outputs[2], outputs[3], d_outputs[0])

    return _operator("squeeze_excite", output, outputs=4, bprop=bprop)


def concatenate() -> ops.Custom:
    """Return the concatenation of tensors as one vector, (*tensors) -> vector; it has no gradient."""
    return _operator("concatenate", lambda *tensors: (sum(map(prod, tensors)),))


def subtract_vector(tensors: int) -> ops.Custom:
    """Return a subtraction in place, (vector, *tensors) -> 0: each tensor is reduced by its part of the vector."""
    return _operator("subtract_vector", lambda *_: (1,), written=(False,) + (True,) * tensors)


def _operator(
    name: str,
    output: Callable[..., Any],
    *,
    outputs: int = 1,
    bprop: Callable[..., Any] | None = None,
    written: Sequence[bool] = (),
) -> ops.Custom:
    """Return a function of the library as an operator.

    Args:
        name: The function.
        output: Turns the shapes of the inputs into those of the outputs.
        outputs: Number of outputs.
        bprop: The gradient, None if it has none.
        written: Whether the operator changes each input in place; empty if it changes none.
    """
    kind = mindspore.float32 if outputs == 1 else (mindspore.float32,) * outputs
    arguments = (f"{LIBRARY}:{name}", output, kind)
    if not any(written):
        return ops.Custom(*arguments, func_type="aot", bprop=bprop)

    class InPlace(ops.Custom):
        __mindspore_signature__ = tuple(
            signature.make_sig(f"input_{i}", signature.sig_rw.RW_WRITE if writes else signature.sig_rw.RW_READ)
            for i, writes in enumerate(written)
        )

    operator = InPlace(*arguments, func_type="aot", bprop=bprop)
    operator.add_prim_attr("side_effect_mem", True)
    return operator
