"""The operators for an NPU compute what those for the CPU do, as far as MindSpore's CPU has them.

It has neither their convolution nor their batch norm; those are compiled only (tests/mnas/ascend).
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


def both(make: Any, *arrays: Any) -> None:
    """Compare value and gradients of an operator on both devices' forms."""
    from mindspore import Tensor, ops

    tensors = [Tensor(array) for array in arrays]

    def values(operator: Any) -> list[Any]:
        differentiate = ops.value_and_grad(lambda *inputs: (operator(*inputs) ** 2).sum(), tuple(range(len(arrays))))
        return [operator(*tensors).asnumpy(), *(each.asnumpy() for each in differentiate(*tensors)[1])]

    results = [values(make(npu=npu)) for npu in (False, True)]
    for cpu, npu in zip(*results, strict=True):
        np.testing.assert_allclose(npu, cpu, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("keep_dims", [True, False])
def test_spatial_means_are_equal(keep_dims: bool) -> None:
    module = operators()
    both(lambda npu: module.spatial_mean(keep_dims=keep_dims, npu=npu), IMAGES)


def test_dense_layers_are_equal() -> None:
    both(operators().dense, FEATURES, WEIGHT, BIAS)


def test_cross_entropies_are_equal() -> None:
    both(operators().cross_entropy, FEATURES, TARGETS)


def test_one_hot_codes_are_equal() -> None:
    module = operators()
    from mindspore import Tensor, float32

    on, off = Tensor(0.9, float32), Tensor(0.1, float32)
    labels = Tensor(np.array([3, 0, 5], np.int32))
    cpu, npu = (module.one_hot(npu=npu)(labels, 6, on, off).asnumpy() for npu in (False, True))
    np.testing.assert_array_equal(npu, cpu)
