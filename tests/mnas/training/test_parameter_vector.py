"""The parameters of a network as one vector."""

import numpy as np

from mnas.mindspore_setup import Compute, prepare_mindspore

ARRAYS = [
    np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in ((3, 4, 1, 1), (5,), (1,), (2, 3))
]
VECTOR = np.concatenate([array.ravel() for array in ARRAYS])


def test_the_vector_is_all_tensors_one_after_the_other() -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import Tensor

    from mnas.training.parameter_vector import Concatenate

    vector = Concatenate()(tuple(map(Tensor, ARRAYS)))
    np.testing.assert_array_equal(vector.asnumpy(), VECTOR)


def test_from_each_parameter_its_part_is_subtracted() -> None:
    prepare_mindspore(Compute(threads=1))
    from mindspore import Parameter, ParameterTuple, Tensor

    from mnas.training.parameter_vector import SubtractFrom

    parameters = ParameterTuple([Parameter(Tensor(array), name=f"p{i}") for i, array in enumerate(ARRAYS)])
    SubtractFrom(parameters)(Tensor(3 * VECTOR))
    for parameter, array in zip(parameters, ARRAYS, strict=True):
        np.testing.assert_allclose(parameter.asnumpy(), -2 * array, rtol=1e-6)
