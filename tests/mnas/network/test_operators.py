"""The operators for an NPU compute what those for the CPU do, as far as MindSpore's CPU has them.

It has none of their convolution, batch norm and one-hot code; those are compiled only (tests/mnas/ascend).
"""

from typing import Any

import numpy as np
import pytest

from mnas.mindspore_setup import Compute, prepare_mindspore

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.standard_normal((4, 6, 5, 5)).astype(np.float32)
FEATURES = GENERATOR.standard_normal((4, 6)).astype(np.float32)
WEIGHT = GENERATOR.standard_normal((3, 6)).astype(np.float32)
BIAS = GENERATOR.standard_normal(3).astype(np.float32)
TARGETS = np.eye(6, dtype=np.float32)[[1, 0, 5, 3]] * 0.9 + 0.1 / 6


def operators() -> Any:
    prepare_mindspore(Compute(threads=1))
    from mnas.network import operators as module

    return module


def both(make: Any, *arrays: Any, inputs: int | None = None) -> None:
    """Compare both devices' forms of an operator: the value, and the gradients of the first `inputs` inputs or all."""
    from mindspore import Tensor, ops

    tensors = [Tensor(array) for array in arrays]

    def values(operator: Any) -> list[Any]:
        def total(*values: Any) -> Any:
            return (operator(*values) ** 2).sum()

        _, gradients = ops.value_and_grad(total, tuple(range(inputs or len(arrays))))(*tensors)
        return [operator(*tensors), *(gradients if isinstance(gradients, tuple) else (gradients,))]

    results = [values(make(npu=npu)) for npu in (False, True)]
    for cpu, npu in zip(*results, strict=True):
        np.testing.assert_allclose(npu.asnumpy(), cpu.asnumpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("keep_dims", [True, False])
def test_spatial_means_are_equal(keep_dims: bool) -> None:
    module = operators()
    both(lambda npu: module.spatial_mean(keep_dims=keep_dims, npu=npu), IMAGES)


def test_dense_layers_are_equal() -> None:
    both(operators().dense, FEATURES, WEIGHT, BIAS)


def test_cross_entropies_are_equal() -> None:
    both(operators().cross_entropy, FEATURES, TARGETS, inputs=1)
