from dataclasses import replace
from pathlib import Path

import pytest

from mnas.checkpoints.checkpoint import Accuracy, Checkpoint, write_checkpoint
from mnas.checkpoints.image_input import conventional_input
from mnas.data import ImageForm
from mnas.errors import ConfigurationError
from mnas.network.weights import initial_weights
from mnas.scaling import scaled_networks, trained_accuracies
from search_space import Architecture, ArchitectureFile, parse_block, reference

SMALL = Architecture((parse_block("r1_k3_s22_e3_i16_o16"),), stem_filters=16, head_filters=16)
FORM = ImageForm(32, 3, 7)
NETWORKS = scaled_networks(SMALL, (0.5, 1.0), (FORM, replace(FORM, image_size=64)))
ACCURACY = Accuracy(top1=0.5, top5=0.75, loss=1.25, images=80, of_ema=False)


def checkpoint(
    path: Path, architecture: Architecture, *, classes: int = 7, accuracy: Accuracy | None = ACCURACY
) -> Path:
    made = Checkpoint(ArchitectureFile(architecture), conventional_input(32, 3, classes), {}, accuracy=accuracy)
    write_checkpoint(path, replace(made, weights=initial_weights(made.network(), seed=0)))
    return path


@pytest.mark.parametrize(
    ("width", "trainable_params", "multiply_adds"),
    [
        (0.5, 2_218_512, 104_455_968),
        (0.75, 3_170_208, 215_493_104),
        (1.0, 4_383_312, 314_415_872),
        (1.3, 6_282_256, 526_362_432),
        (1.4, 7_115_728, 588_799_408),
    ],
)
def test_mnasnet_b1_is_scaled_as_published(width: float, trainable_params: int, multiply_adds: int) -> None:
    (network,) = scaled_networks(reference("mnasnet-b1").architecture, (width,), (ImageForm(224, 3, 1000),))
    assert (network.cost().trainable_params, network.cost().multiply_adds) == (trainable_params, multiply_adds)


def test_mnasnet_a1_has_the_published_parameters_at_every_resolution() -> None:
    forms = [ImageForm(size, 3, 1000) for size in (96, 160, 224)]
    costs = [network.cost() for network in scaled_networks(reference("mnasnet-a1").architecture, (1.0,), forms)]
    assert [each.trainable_params for each in costs] == [3_887_038] * 3
    assert costs[0].multiply_adds < costs[1].multiply_adds < costs[2].multiply_adds


def test_widths_come_in_order_each_with_every_resolution() -> None:
    assert [(network.width, network.form.image_size) for network in NETWORKS] == [
        (0.5, 32),
        (0.5, 64),
        (1, 32),
        (1, 64),
    ]


def test_a_checkpoint_gives_its_accuracy_to_its_network_only(tmp_path: Path) -> None:
    trained = checkpoint(tmp_path / "half.safetensors", SMALL.scaled(0.5))
    assert trained_accuracies(NETWORKS, [trained]) == [ACCURACY, None, None, None]


def test_without_checkpoints_there_is_no_accuracy() -> None:
    assert trained_accuracies(NETWORKS, []) == [None] * 4


def test_a_checkpoint_of_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"other\.safetensors: is of none .* has 9 classes"):
        trained_accuracies(NETWORKS, [checkpoint(tmp_path / "other.safetensors", SMALL, classes=9)])


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"other\.safetensors: is of none"):
        trained_accuracies(NETWORKS, [checkpoint(tmp_path / "other.safetensors", replace(SMALL, head_filters=24))])


def test_a_checkpoint_without_an_accuracy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"last\.safetensors: has no accuracy"):
        trained_accuracies(NETWORKS, [checkpoint(tmp_path / "last.safetensors", SMALL, accuracy=None)])


def test_two_checkpoints_of_one_network_are_refused(tmp_path: Path) -> None:
    both = [checkpoint(tmp_path / name, SMALL) for name in ("a.safetensors", "b.safetensors")]
    with pytest.raises(ConfigurationError, match=r"b\.safetensors: is of the same network as .*a\.safetensors"):
        trained_accuracies(NETWORKS, both)
