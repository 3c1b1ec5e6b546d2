"""Batch-norm statistics that are measured again, with the kernels and with MindSpore's operators."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mnas.data import DigitsSettings, ImageSource
from mnas.kernels.library import machine_has_kernels
from mnas.mindspore_setup import Compute, prepare_mindspore
from mnas.network.weights import FloatArray, Weights, initial_weights
from mnas.training.norm_statistics import NormStatistics
from mnas.training.settings import TrainingSettings
from search_space import Architecture, lower, parse_block

NETWORK = lower(
    Architecture(
        (parse_block("r1_k3_s22_e1_i8_o8_conv"), parse_block("r1_k3_s22_e3_i8_o8_se0.25")),
        stem_filters=8,
        head_filters=16,
    ),
    image_size=16,
    channels=1,
    num_classes=10,
)
SETTINGS = TrainingSettings(epochs=1, batch_size=16, learning_rate=0.01, norm_batches=5)
MICRO_BATCH = 8
SEED = 4
WEIGHTS = initial_weights(NETWORK, seed=1)
OTHERS = initial_weights(NETWORK, seed=2)
MOVING = {name for name in WEIGHTS if "moving" in name}
KERNELS = [False, pytest.param(True, marks=pytest.mark.skipif(not machine_has_kernels(), reason="no kernels"))]


@pytest.fixture(scope="module")
def images() -> ImageSource:
    """Images of two batches and a half."""
    return DigitsSettings(image_size=16).load_test().select(np.arange(40))


@pytest.fixture(scope="module", params=KERNELS, ids=["mindspore", "kernels"])
def norms(request: pytest.FixtureRequest, images: ImageSource) -> NormStatistics:
    compute = Compute(threads=1, kernels=request.param)
    prepare_mindspore(compute)
    return NormStatistics(NETWORK, SETTINGS, images, seed=SEED, micro_batch_size=MICRO_BATCH, compute=compute)


def convolved(images: FloatArray, weight: FloatArray) -> NDArray[np.float64]:
    """Return the stem's convolution, 3x3 of stride 2, by NumPy."""
    padded = np.pad(images.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    size = images.shape[2]
    parts = [
        np.einsum("nchw,dc->ndhw", padded[:, :, i : i + size : 2, j : j + size : 2], weight[:, :, i, j])
        for i, j in np.ndindex(3, 3)
    ]
    return np.asarray(np.sum(parts, axis=0), np.float64)


def test_they_are_the_average_over_the_batches_of_as_many_epochs_as_it_takes(
    norms: NormStatistics, images: ImageSource
) -> None:
    found = norms.measured(WEIGHTS)
    batches = [
        batch
        for epoch, count in enumerate((4, 4, 2))  # ten micro-batches
        for batch, _ in images.training_batches(MICRO_BATCH, seed=SEED, epoch=epoch, batches=range(count))
    ]
    outputs = [convolved(batch, WEIGHTS["stem.conv.weight"]) for batch in batches]
    means, variances = [y.mean((0, 2, 3)) for y in outputs], [y.var((0, 2, 3), ddof=1) for y in outputs]
    np.testing.assert_allclose(found["stem.norm.moving_mean"], np.mean(means, axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["stem.norm.moving_variance"], np.mean(variances, axis=0), rtol=1e-5)


def test_the_weights_stay_and_every_batch_norm_is_measured(norms: NormStatistics) -> None:
    found = norms.measured(WEIGHTS)
    assert list(found) == list(WEIGHTS)
    assert {name for name in found if not np.array_equal(found[name], WEIGHTS[name])} == MOVING


def test_they_depend_on_the_trained_weights_alone(norms: NormStatistics) -> None:
    first = norms.measured(WEIGHTS)
    assert not np.allclose(norms.measured(OTHERS)["stem.norm.moving_mean"], first["stem.norm.moving_mean"])
    lagging = WEIGHTS | {name: WEIGHTS[name] + np.float32(0.3) for name in MOVING}
    again = norms.measured(lagging)
    for name, value in first.items():
        np.testing.assert_array_equal(again[name], value)


@pytest.mark.skipif(not machine_has_kernels(), reason="the kernels are not compiled for this machine")
def test_the_kernels_measure_what_mindspore_measures(images: ImageSource) -> None:
    def measured(kernels: bool) -> Weights:
        compute = Compute(threads=1, kernels=kernels)
        prepare_mindspore(compute)
        return NormStatistics(
            NETWORK, SETTINGS, images, seed=SEED, micro_batch_size=MICRO_BATCH, compute=compute
        ).measured(WEIGHTS)

    plain = measured(False)
    for name, value in measured(True).items():
        np.testing.assert_allclose(value, plain[name], rtol=1e-4, atol=1e-5, err_msg=name)
