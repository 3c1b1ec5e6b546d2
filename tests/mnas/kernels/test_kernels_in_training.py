"""Networks that the kernels train against the same networks without them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mnas.errors import ConfigurationError
from mnas.kernels.library import machine_has_kernels
from mnas.mindspore_setup import Compute, prepare_mindspore
from mnas.network.weights import initial_weights
from mnas.training.settings import Ema, Optimizer, RmsPropSettings, SgdSettings, TrainingSettings
from search_space.architecture import ActivationKind, Architecture
from search_space.block_string import parse_block
from search_space.lowering import LoweredNetwork, lower

needs_kernels = pytest.mark.skipif(not machine_has_kernels(), reason="the kernels are not compiled for this machine")


def network_of(activation: ActivationKind, *blocks: str) -> LoweredNetwork:
    architecture = Architecture(
        tuple(map(parse_block, blocks)), stem_filters=8, stem_stride=1, head_filters=24, activation=activation
    )
    return lower(architecture, image_size=15, channels=3, num_classes=5)


NETWORKS = {
    "relu": network_of("relu", "r2_k3_s22_e6_i8_o16_se0.25", "r1_k5_s22_e3_i16_o16_pool"),
    "relu6": network_of("relu6", "r2_k5_s22_e1_i8_o8", "r1_k3_s11_e1_i8_o16_conv_se0.25"),
}


def batch(network: LoweredNetwork, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    generator = np.random.default_rng(seed)
    shape = (16, network.channels, network.image_size, network.image_size)
    images = generator.standard_normal(shape).astype(np.float32)
    return images, generator.integers(0, network.num_classes, 16).astype(np.int32)


def gradients_of(network: LoweredNetwork, *, kernels: bool) -> dict[str, NDArray[np.float32]]:
    """The gradient of every parameter, the loss as "loss", and the moving statistics after the step."""
    prepare_mindspore(Compute(threads=1))
    import mindspore

    from mnas.network.mindspore_cell import build_network
    from mnas.network.weight_vector import named_arrays, parameter_specs, split_vector
    from mnas.training.step import SmoothedCrossEntropy

    cell = build_network(network, initial_weights(network, seed=1), norm_momentum=0.8, kernels=kernels)
    cell.set_train()
    loss_of = SmoothedCrossEntropy(network.num_classes, 0.1)

    def forward(images: mindspore.Tensor, labels: mindspore.Tensor) -> mindspore.Tensor:
        return loss_of(cell(images), labels)

    parameters = cell.trainable_params()
    loss, gradients = mindspore.ops.value_and_grad(forward, None, parameters)(*map(mindspore.Tensor, batch(network, 0)))
    moving = {name: value for name, value in named_arrays(cell).items() if "moving" in name}
    trained = [spec for spec in parameter_specs(cell) if spec.trainable]
    named = split_vector(np.concatenate([gradient.asnumpy().ravel() for gradient in gradients]), trained)
    return {**named, **moving, "loss": loss.asnumpy()}


def state_after_three_steps(
    network: LoweredNetwork, settings: TrainingSettings, *, kernels: bool
) -> dict[str, NDArray[np.float32]]:
    """Weights and statistics, their moving averages and the optimizer's state."""
    prepare_mindspore(Compute(threads=1))
    from mindspore import Tensor

    from mnas.network.mindspore_cell import build_network
    from mnas.network.weight_vector import named_arrays
    from mnas.training.step import TrainingStep

    cell = build_network(network, initial_weights(network, seed=1), norm_momentum=0.8, kernels=kernels)
    step = TrainingStep(cell, network.num_classes, settings)
    numbers = [Tensor(np.float32(number)) for number in (settings.learning_rate, 1.0, 0.9)]  # loss scale, EMA decay
    for seed in range(3):
        step(*map(Tensor, batch(network, seed)), *numbers)
    optimizer = {slot.name: slot.asnumpy() for slot in step.update.optimizer.get_parameters()}
    averages = {f"ema.{name}": value for name, value in step.update.average.values().items()}
    return named_arrays(cell) | optimizer | averages


@needs_kernels
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_gradients_are_those_of_mindspore(network: LoweredNetwork) -> None:
    plain, own = gradients_of(network, kernels=False), gradients_of(network, kernels=True)
    largest = max(np.linalg.norm(value) for value in plain.values())
    for name, value in plain.items():
        # Some gradients are zero but for rounding, such as that of a shift that the next batch norm takes away.
        allowed = 1e-5 * max(np.linalg.norm(value), 0.01 * largest)
        assert np.linalg.norm(own[name] - value) <= allowed, name


@needs_kernels
@pytest.mark.parametrize("optimizer", [RmsPropSettings(), SgdSettings()], ids=["rmsprop", "sgd"])
def test_steps_are_those_of_mindspore(optimizer: Optimizer) -> None:
    settings = TrainingSettings(
        epochs=1, learning_rate=1e-3, optimizer=optimizer, weight_decay=0.1, clip_norm=0.1, ema=Ema()
    )
    plain, own = (state_after_three_steps(NETWORKS["relu"], settings, kernels=kernels) for kernels in (False, True))
    before = initial_weights(NETWORKS["relu"], seed=1)
    before |= {f"ema.{name}": start for name, start in before.items()}
    for kind in ("", "ema."):
        names = [name for name in before if name.startswith("ema.") == bool(kind)]
        moved = np.concatenate([(plain[name] - before[name]).ravel() for name in names])
        apart = np.concatenate([(plain[name] - own[name]).ravel() for name in names])
        assert np.linalg.norm(apart) <= 1e-4 * np.linalg.norm(moved), kind
    for name in plain.keys() - before.keys():  # of the optimizer
        assert np.linalg.norm(own[name] - plain[name]) <= 1e-4 * np.linalg.norm(plain[name]), name


def test_kernels_in_another_precision_are_refused() -> None:
    prepare_mindspore(Compute(threads=1))
    from mnas.network.mindspore_cell import build_network

    network = NETWORKS["relu"]
    with pytest.raises(ConfigurationError, match=r"compute in float32, not in precision O2"):
        build_network(network, initial_weights(network, seed=1), precision="O2", kernels=True)
