# mypy: allow-subclassing-any
"""A network in training as one MindSpore operator with its gradients; all values are float32.

It runs only on machines that `mnas.kernels.library.machine_has_kernels` accepts. Importing this module imports
MindSpore: call `mnas.mindspore_setup.prepare_mindspore` before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import mindspore
import numpy as np
from mindspore import Tensor, ops
from mindspore.ops import signature

from mnas.kernels.library import LIBRARY
from mnas.kernels.program import Program

Shape: TypeAlias = tuple[int, ...]
Tensors: TypeAlias = Any  # a tuple of tensors; MindSpore has no types

_zeros_like = ops.ZerosLike()  # compiles in a fraction of the time of the function of the same name


def network_operator(program: Program, *, differentiates_images: bool = False) -> ops.Custom:
    """Return a network in training: (images, weights, statistics, table, rule, mask) -> (y, workspace).

    images are (N, C, H, W), weights and statistics vectors, table is `Program.table()`, rule that of `norm_rule`, mask
    (N, features) the factors of the classifier's inputs or one number if there are none. y is (N, D, H', W'). The
    statistics are updated in place.

    Args:
        program: The layers.
        differentiates_images: Whether it has a gradient with respect to the images; otherwise that is zero.
    """

    def gradient_shapes(
        weights: Shape, table: Shape, rule: Shape, mask: Shape, workspace: Shape, dy: Shape
    ) -> tuple[Shape, ...]:
        dimages = program.input_shape(dy[0]) if differentiates_images else (1,)
        return weights, dimages, (program.gradient_floats(dy[0]),)

    gradients = _operator("network_gradients", gradient_shapes, program, outputs=3)

    def bprop(
        images: Tensor,
        weights: Tensor,
        statistics: Tensor,
        table: Tensor,
        rule: Tensor,
        mask: Tensor,
        outputs: tuple[Tensor, ...],
        d_outputs: tuple[Tensor, ...],
    ) -> Tensors:
        dweights, dimages, _ = gradients(weights, table, rule, mask, outputs[1], d_outputs[0])
        others = _zeros_like(statistics), _zeros_like(table), _zeros_like(rule), _zeros_like(mask)
        return (dimages if differentiates_images else _zeros_like(images), dweights, *others)

    def shapes(images: Shape, *_: Shape) -> tuple[Shape, ...]:
        return program.output_shape(images[0]), (program.workspace_floats(images[0]),)

    written = (False, False, True, False, False, False)
    return _operator("network", shapes, program, outputs=2, bprop=bprop, written=written)


def norm_rule(epsilon: float, momentum: float) -> Tensor:
    """Return the rule of all batch norms, shape (2,).

    Args:
        epsilon: Added to the variance.
        momentum: Share of the old moving statistics that is kept.
    """
    return Tensor(np.array([epsilon, 1 - momentum], np.float32))


def _operator(
    name: str,
    output: Callable[..., Any],
    program: Program,
    *,
    outputs: int,
    bprop: Callable[..., Any] | None = None,
    written: Sequence[bool] = (),
) -> ops.Custom:
    """Return a function of the library as an operator.

    Args:
        name: The function.
        output: Turns the shapes of the inputs into those of the outputs.
        program: What `output` depends on. MindSpore takes operators of equal attributes for the same, so this is one.
        outputs: Number of outputs.
        bprop: The gradient, None if it has none.
        written: Whether the operator changes each input in place; empty if it changes none.
    """
    arguments = (f"{LIBRARY}:{name}", output, (mindspore.float32,) * outputs)
    if any(written):

        class InPlace(ops.Custom):
            __mindspore_signature__ = tuple(
                signature.make_sig(f"input_{i}", signature.sig_rw.RW_WRITE if writes else signature.sig_rw.RW_READ)
                for i, writes in enumerate(written)
            )

        operator = InPlace(*arguments, func_type="aot", bprop=bprop)
        operator.add_prim_attr("side_effect_mem", True)
    else:
        operator = ops.Custom(*arguments, func_type="aot", bprop=bprop)
    operator.add_prim_attr("program", program.table().tobytes().hex())
    return operator
