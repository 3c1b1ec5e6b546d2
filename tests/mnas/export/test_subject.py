from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mnas.checkpoints.checkpoint import Accuracy, Checkpoint, CheckpointError, Position, write_checkpoint
from mnas.errors import ConfigurationError
from mnas.export.source import Source, find_source
from mnas.export.subject import Adaptation, subject_of
from mnas.network.weights import initial_weights
from search_space import SpaceError

ACCURACY = Accuracy(top1=0.9, top5=0.99, loss=0.3, images=360, of_ema=False)


@pytest.fixture
def source(searched_run: Path) -> Source:
    return find_source(str(searched_run))


@pytest.fixture
def trained(source: Source, tmp_path: Path) -> Path:
    """A checkpoint of the best trial."""
    empty = Checkpoint(source.architecture, source.input, {})
    weights = initial_weights(empty.network(), seed=7)
    full = replace(empty, weights=weights, position=Position(epoch=3, step=66), accuracy=ACCURACY)
    write_checkpoint(tmp_path / "best.safetensors", full)
    return tmp_path / "best.safetensors"


def test_without_a_checkpoint_the_weights_are_initial_and_lineage_says_so(source: Source) -> None:
    subject = subject_of(source, Adaptation(), None)
    assert not subject.is_trained
    assert subject.checkpoint.architecture.lineage["weights"] == "initial"
    expected = initial_weights(subject.network, 0)
    assert all(np.array_equal(subject.checkpoint.weights[name], value) for name, value in expected.items())


def test_a_checkpoint_gives_weights_accuracy_and_lineage(source: Source, trained: Path) -> None:
    subject = subject_of(source, Adaptation(), trained)
    assert subject.is_trained
    assert subject.checkpoint.accuracy == ACCURACY
    assert subject.checkpoint.architecture.lineage["weights"] == {
        "checkpoint": str(trained),
        "epoch": 3,
        "step": 66,
        "accuracy": msgspec.to_builtins(ACCURACY),
    }


def test_an_exported_checkpoint_of_initial_weights_stays_untrained(source: Source, tmp_path: Path) -> None:
    initial = subject_of(source, Adaptation(), None).checkpoint
    write_checkpoint(tmp_path / "initial.safetensors", initial)
    assert not subject_of(source, Adaptation(), tmp_path / "initial.safetensors").is_trained


def test_a_training_that_began_with_an_exported_architecture_counts_as_trained(source: Source, tmp_path: Path) -> None:
    exported = subject_of(source, Adaptation(), None).checkpoint
    assert exported.architecture.lineage["weights"] == "initial"
    write_checkpoint(tmp_path / "last.safetensors", replace(exported, position=Position(epoch=0, step=1)))
    assert subject_of(source, Adaptation(), tmp_path / "last.safetensors").is_trained


def test_every_phone_of_the_searched_network_has_its_record(source: Source) -> None:
    records = subject_of(source, Adaptation(), None).latencies()
    assert [record.phone.name for record in records] == ["host", "pixel6"]


@pytest.mark.parametrize(
    "adaptation", [Adaptation(width=2.0), Adaptation(image_size=32), Adaptation(num_classes=7)], ids=str
)
def test_another_network_than_the_searched_one_has_none_of_its_numbers(source: Source, adaptation: Adaptation) -> None:
    subject = subject_of(source, adaptation, None)
    assert subject.latencies() == ()
    lineage = subject.checkpoint.architecture.lineage
    assert not {"accuracy", "latency_ms", "reward", "latency"} & lineage.keys()
    assert lineage["trial"] == 2


def test_another_number_of_classes_has_no_names(source: Source) -> None:
    form = subject_of(source, Adaptation(num_classes=7), None).checkpoint.input
    assert (form.num_classes, form.class_names) == (7, None)


def test_a_width_scales_the_network_and_its_name(source: Source) -> None:
    subject = subject_of(source, Adaptation(width=2.0), None)
    file = subject.checkpoint.architecture
    assert file.architecture == source.architecture.architecture.scaled(2.0)
    assert (file.name, file.lineage["width"], file.indices) == ("trial 2 of digits x2", 2.0, None)


def test_widths_multiply(source: Source) -> None:
    once = subject_of(source, Adaptation(width=2.0), None)
    again = replace(source, architecture=once.checkpoint.architecture, provenance=once.provenance)
    assert subject_of(again, Adaptation(width=1.5), None).checkpoint.architecture.lineage["width"] == 3.0


def test_a_width_below_zero_is_refused(source: Source) -> None:
    with pytest.raises(SpaceError, match="width"):
        subject_of(source, Adaptation(width=-1.0), None)


@pytest.mark.parametrize(
    ("width", "image_size", "top1_percent"),
    [(1.0, None, 75.2), (0.75, None, 73.3), (0.75, 192, None), (0.6, None, None)],
)
def test_published_numbers_are_of_one_width_at_224_pixels(
    width: float, image_size: int | None, top1_percent: float | None
) -> None:
    published = subject_of(find_source("mnasnet-a1"), Adaptation(width, image_size), None).published
    assert (published and published.top1_percent) == top1_percent


def test_a_checkpoint_of_another_network_is_refused(source: Source, trained: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best\.safetensors: holds the weights of trial 2.*not of trial 2.* x2"):
        subject_of(source, Adaptation(width=2.0), trained)


@pytest.mark.parametrize(
    ("adaptation", "said"),
    [
        (Adaptation(image_size=32), "--image-size: the network of .* has 16, not 32"),
        (Adaptation(channels=3), "--channels: the network of .* has 1, not 3"),
        (Adaptation(num_classes=5), "--classes: the network of .* has 10, not 5"),
    ],
)
def test_an_input_that_is_not_the_checkpoints_is_refused(
    source: Source, trained: Path, adaptation: Adaptation, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        subject_of(source, adaptation, trained)


def test_channels_without_a_normalization_are_refused(source: Source) -> None:
    with pytest.raises(ConfigurationError, match=r"--channels: .* have no normalization"):
        subject_of(source, Adaptation(channels=3), None)


def test_a_latency_that_is_no_record_is_named(source: Source) -> None:
    provenance = msgspec.structs.replace(source.provenance, latency={"schema": 9})
    with pytest.raises(ConfigurationError, match=r"its latency record cannot be read \(.*schema 9"):
        subject_of(replace(source, provenance=provenance), Adaptation(), None).latencies()


def test_the_released_checkpoint_has_the_moving_average_as_its_weights(source: Source) -> None:
    subject = subject_of(source, Adaptation(), None)
    average = {name: value + 1 for name, value in subject.checkpoint.weights.items()}
    training = {"rmsprop.square": np.ones(3, np.float32)}
    averaged = replace(subject, checkpoint=replace(subject.checkpoint, ema=average, training=training))
    released = averaged.released_checkpoint()
    assert (released.weights, released.ema, released.training) == (average, None, {})
