from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mnas.checkpoints.checkpoint import Checkpoint, CheckpointError, write_checkpoint
from mnas.checkpoints.image_input import conventional_input
from mnas.checkpoints.mindcv_names import to_mindcv
from mnas.checkpoints.mindspore import write_mindspore_weights
from mnas.errors import ConfigurationError
from mnas.mindspore_setup import Compute
from mnas.network.weights import initial_weights
from mnas.retrain.directory import INIT_FILE
from mnas.retrain.starting_point import StartingPoint, find_starting_point, fitted_weights
from search_space import Architecture, ArchitectureFile, parse_block

FILE = ArchitectureFile(
    Architecture((parse_block("r1_k3_s11_e1_i8_o8_noskip"), parse_block("r1_k3_s22_e3_i8_o16")), 8, 2, 16), name="small"
)
FORM = conventional_input(32, 3, 10)


@pytest.fixture
def checkpoint() -> Checkpoint:
    empty = Checkpoint(FILE, FORM, {})
    return replace(empty, weights=initial_weights(empty.network(), seed=3))


@pytest.fixture
def start(checkpoint: Checkpoint) -> StartingPoint:
    return StartingPoint(Path("trained.safetensors"), checkpoint)


def is_classifier(name: str) -> bool:
    return name.startswith("classifier.")


def test_the_same_classes_keep_every_weight(start: StartingPoint) -> None:
    fitted = fitted_weights(start, FILE, msgspec.structs.replace(FORM, image_size=48), seed=0)
    assert fitted.record.drawn == ""
    for name, value in start.checkpoint.weights.items():
        assert np.array_equal(fitted.weights[name], value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_classes": 7}, "the checkpoint has 10 classes, the data 7"),
        ({"class_names": tuple("abcdefghij")}, ""),
    ],
)
def test_other_classes_draw_the_classifier_again_and_say_so(
    start: StartingPoint, changes: dict[str, object], said: str
) -> None:
    form = msgspec.structs.replace(FORM, **changes)
    fitted = fitted_weights(start, FILE, form, seed=5)
    assert fitted.record.drawn == said
    drawn = initial_weights(Checkpoint(FILE, form, {}).network(), seed=5)
    for name, value in fitted.weights.items():
        expected = drawn if said and is_classifier(name) else start.checkpoint.weights
        assert np.array_equal(value, expected[name])


def test_classes_of_other_names_are_other_classes(start: StartingPoint) -> None:
    named = msgspec.structs.replace(FORM, class_names=tuple("abcdefghij"))
    of_names = replace(start, checkpoint=replace(start.checkpoint, input=named))
    again = fitted_weights(of_names, FILE, named, seed=0)
    other = fitted_weights(of_names, FILE, msgspec.structs.replace(FORM, class_names=tuple("jihgfedcba")), seed=0)
    assert (again.record.drawn, other.record.drawn[:11]) == ("", "the classes")


def test_images_of_other_channels_are_refused_by_the_tensor(start: StartingPoint) -> None:
    with pytest.raises(
        CheckpointError, match=r"'stem.conv.weight' has the shape \(8, 3, 3, 3\).* images of 1 channels"
    ):
        fitted_weights(start, FILE, conventional_input(32, 1, 10), seed=0)


def test_weights_that_are_no_numbers_are_refused(start: StartingPoint) -> None:
    weights = dict(start.checkpoint.weights)
    weights["stem.conv.weight"] = np.full_like(weights["stem.conv.weight"], np.nan)
    broken = replace(start, checkpoint=replace(start.checkpoint, weights=weights))
    with pytest.raises(CheckpointError, match=r"'stem.conv.weight' holds infinite numbers or NaN"):
        fitted_weights(broken, FILE, FORM, seed=0)


def test_our_checkpoint_tells_its_network_and_a_folder_its_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "checkpoint.safetensors", checkpoint)
    for path in (tmp_path, tmp_path / "checkpoint.safetensors"):
        found = find_starting_point(path, tmp_path / "run", None, Compute())
        assert found.checkpoint.architecture == FILE
    wider = replace(FILE, architecture=FILE.architecture.scaled(2.0))
    with pytest.raises(CheckpointError, match="holds the weights of small"):
        find_starting_point(tmp_path, tmp_path / "run", wider, Compute())


@pytest.mark.parametrize("names", ["mnas", "mindcv"])
def test_a_checkpoint_of_mindspore_fits_other_classes_than_its_file_records(
    checkpoint: Checkpoint, tmp_path: Path, names: str
) -> None:
    weights = checkpoint.weights
    named = to_mindcv(checkpoint.network(), weights) if names == "mindcv" else weights
    write_mindspore_weights(tmp_path / "weights.ckpt", named)
    recorded = {"input": {"image_size": 32, "channels": 3, "num_classes": 4}}
    found = find_starting_point(
        tmp_path / "weights.ckpt", tmp_path / "run", replace(FILE, lineage=recorded), Compute(threads=1)
    )
    fitted = fitted_weights(found, FILE, conventional_input(32, 3, 4), seed=0)
    assert fitted.record.drawn == "the checkpoint has 10 classes, the data 4"
    assert all(np.array_equal(fitted.weights[name], weights[name]) for name in weights if not is_classifier(name))


def test_a_checkpoint_of_mindspore_needs_its_network(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name the network"):
        find_starting_point(tmp_path / "weights.ckpt", tmp_path, None, Compute())


def test_what_a_training_has_kept_goes_before_the_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / INIT_FILE, checkpoint)
    found = find_starting_point(tmp_path / "gone.safetensors", tmp_path, None, Compute())
    assert found.checkpoint.architecture == FILE
    (tmp_path / INIT_FILE).unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        find_starting_point(tmp_path / "gone.safetensors", tmp_path, None, Compute())
