"""Both ways of making and using the vector: MindSpore's operators and the kernels."""

import numpy as np
import pytest

from mnas.kernels.library import machine_has_kernels
from mnas.mindspore_setup import Compute, prepare_mindspore

needs_kernels = pytest.mark.skipif(not machine_has_kernels(), reason="the kernels are not compiled for this machine")
each_way = pytest.mark.parametrize(
    "kernels", [False, pytest.param(True, marks=needs_kernels)], ids=["mindspore", "kernels"]
)

ARRAYS = [
    np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in ((3, 4, 1, 1), (5,), (1,), (2, 3))
]
VECTOR = np.concatenate([array.ravel() for array in ARRAYS])


@each_way
def test_the_vector_is_all_tensors_one_after_the_other(kernels: bool) -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import Tensor

    from mnas.training.parameter_vector import Concatenate

    vector = Concatenate(kernels=kernels)(tuple(map(Tensor, ARRAYS)))
    np.testing.assert_array_equal(vector.asnumpy(), VECTOR)


@each_way
def test_from_each_parameter_its_part_is_subtracted(kernels: bool) -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import Parameter, ParameterTuple, Tensor

    from mnas.training.parameter_vector import SubtractFrom

    parameters = ParameterTuple([Parameter(Tensor(array), name=f"p{i}") for i, array in enumerate(ARRAYS)])
    SubtractFrom(parameters, kernels=kernels)(Tensor(3 * VECTOR))
    for parameter, array in zip(parameters, ARRAYS, strict=True):
        np.testing.assert_allclose(parameter.asnumpy(), -2 * array, rtol=1e-6)
