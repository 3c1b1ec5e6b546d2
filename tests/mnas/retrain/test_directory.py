from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mnas.checkpoints.checkpoint import (
    Accuracy,
    Checkpoint,
    CheckpointError,
    Position,
    read_checkpoint,
    write_checkpoint,
)
from mnas.data import DigitsSettings, InputForm
from mnas.files import RunDirectoryError
from mnas.network.weights import initial_weights
from mnas.retrain.directory import FinalAccuracy, RetrainDirectory, open_directory
from mnas.retrain.recipe import Recipe
from mnas.training.settings import TrainingSettings
from search_space import Architecture, ArchitectureFile, parse_block

RECIPE = Recipe(data=DigitsSettings(), training=TrainingSettings(epochs=2, learning_rate=0.1))
ARCHITECTURE = ArchitectureFile(
    Architecture((parse_block("r1_k3_s22_e3_i8_o8"),), stem_filters=8, head_filters=16), name="small"
)


def checkpoint(epoch: int, top1: float, loss: float = 1.0) -> Checkpoint:
    form = InputForm(
        image_size=16,
        channels=1,
        mean=(0.5,),
        std=(0.25,),
        evaluation_crop=1.0,
        num_classes=2,
        class_names=("cat", "dog"),
    )
    empty = Checkpoint(ARCHITECTURE, form, {})
    return replace(
        empty,
        weights=initial_weights(empty.network(), seed=0),
        training={"rmsprop.square": initial_weights(empty.network(), seed=0)["stem.conv.weight"]},
        position=Position(epoch=epoch, step=10 * epoch),
        accuracy=Accuracy(top1=top1, top5=1.0, loss=loss, images=8, of_ema=False),
    )


def test_the_best_checkpoints_are_kept_the_best_first(tmp_path: Path) -> None:
    run = RetrainDirectory(tmp_path)
    for epoch, top1, loss in ((1, 0.2, 1.0), (2, 0.5, 1.0), (3, 0.4, 1.0), (4, 0.5, 0.9), (5, 0.1, 1.0)):
        run.write_if_best(checkpoint(epoch, top1, loss), keep=3)
    assert [path.name for path in run.best_files()] == [f"epoch-000{epoch}.safetensors" for epoch in (4, 2, 3)]


def test_a_best_checkpoint_has_what_evaluation_needs_only(tmp_path: Path) -> None:
    run = RetrainDirectory(tmp_path)
    run.write_if_best(checkpoint(1, 0.5), keep=1)
    kept = read_checkpoint(run.best_files()[0])
    assert kept.training == {}
    assert kept.accuracy is not None
    assert kept.weights.keys() == checkpoint(1, 0.5).weights.keys()


def test_none_is_kept_on_request(tmp_path: Path) -> None:
    RetrainDirectory(tmp_path).write_if_best(checkpoint(1, 0.5), keep=0)
    assert list(tmp_path.iterdir()) == []


def test_the_same_training_is_resumed(tmp_path: Path) -> None:
    for _ in range(2):
        with open_directory(tmp_path / "run", RECIPE, ARCHITECTURE, "data"):
            pass


def test_what_does_not_alter_the_training_may_change(tmp_path: Path) -> None:
    with open_directory(tmp_path / "run", RECIPE, ARCHITECTURE, "data"):
        pass
    with open_directory(tmp_path / "run", msgspec.structs.replace(RECIPE, keep_best=9), ARCHITECTURE, "data"):
        pass


@pytest.mark.parametrize(
    ("recipe", "architecture", "data", "message"),
    [
        (msgspec.structs.replace(RECIPE, seed=1), ARCHITECTURE, "data", r"started differently \(seed: 0 -> 1\)"),
        (RECIPE, replace(ARCHITECTURE, name="other"), "data", "architecture name: small -> other"),
        (RECIPE, ARCHITECTURE, "other", "the data has changed"),
    ],
    ids=["recipe", "architecture", "data"],
)
def test_another_training_is_refused(
    tmp_path: Path, recipe: Recipe, architecture: ArchitectureFile, data: str, message: str
) -> None:
    with open_directory(tmp_path / "run", RECIPE, ARCHITECTURE, "data"):
        pass
    with (
        pytest.raises(RunDirectoryError, match=message),
        open_directory(tmp_path / "run", recipe, architecture, data),
    ):
        pass


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match="not empty"), open_directory(tmp_path, RECIPE, ARCHITECTURE, "data"):
        pass


def test_two_trainings_cannot_share_a_directory(tmp_path: Path) -> None:
    with (
        open_directory(tmp_path / "run", RECIPE, ARCHITECTURE, "data"),
        pytest.raises(RunDirectoryError, match="another mnas retrain is working"),
        open_directory(tmp_path / "run", RECIPE, ARCHITECTURE, "data"),
    ):
        pass


def test_a_training_that_a_release_started_with_keys_of_a_search_goes_on_without_them(tmp_path: Path) -> None:
    with_keys = msgspec.structs.replace(RECIPE, data=DigitsSettings(reward_images=100, train_images=400))
    for recipe in (with_keys, RECIPE):
        with open_directory(tmp_path / "run", recipe, ARCHITECTURE, "data"):
            pass


def test_a_damaged_best_checkpoint_is_named_with_what_to_do(tmp_path: Path) -> None:
    run = RetrainDirectory(tmp_path)
    run.write_if_best(checkpoint(1, 0.5), keep=2)
    (tmp_path / "best" / "epoch-0002.safetensors").write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match=r"epoch-0002\.safetensors: .*remove it, and run the same command again"):
        run.best_files()


def test_a_checkpoint_without_accuracy_is_not_one_of_the_best(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    write_checkpoint(tmp_path / "best" / "epoch-0001.safetensors", replace(checkpoint(1, 0.5), accuracy=None))
    with pytest.raises(CheckpointError, match=r"has no accuracy.*remove it"):
        RetrainDirectory(tmp_path).best_files()


def test_a_checkpoint_without_counters_cannot_be_resumed(tmp_path: Path) -> None:
    run = RetrainDirectory(tmp_path)
    run.write_last(replace(checkpoint(1, 0.5), counters={"loss_scale": 1.0}))
    with pytest.raises(CheckpointError, match="`counters` has no good_steps, loss_steps, loss_sum"):
        run.last()


def test_what_the_test_set_said_is_kept(tmp_path: Path) -> None:
    accuracy = checkpoint(1, 0.5).accuracy
    assert accuracy is not None
    tested = FinalAccuracy(checkpoint="last.safetensors", accuracy=accuracy, validation=accuracy)
    run = RetrainDirectory(tmp_path)
    assert run.tested() is None
    run.write_tested(tested)
    assert run.tested() == tested


def test_a_broken_test_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text("{")
    with pytest.raises(RunDirectoryError, match=r"test\.json: cannot be read .*remove it"):
        RetrainDirectory(tmp_path).tested()


def test_best_elsewhere_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "best").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunDirectoryError, match="best: is no folder of this run"):
        RetrainDirectory(tmp_path).write_if_best(checkpoint(1, 0.5), keep=1)
    assert list((tmp_path / "elsewhere").iterdir()) == []


WRITTEN = {"loss_scale": 1.0, "good_steps": 0.0, "loss_sum": 1.0, "loss_steps": 2.0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss_sum": None}, "`counters` has no loss_sum"),
        ({"loss_steps": -1.0}, "'counters.loss_steps' is -1.0"),
        ({"good_steps": 0.5}, "'counters.good_steps' is 0.5"),
    ],
)
def test_counters_that_no_training_writes_are_refused(
    changes: dict[str, float | None], said: str, tmp_path: Path
) -> None:
    run = RetrainDirectory(tmp_path)
    run.write_last(replace(checkpoint(1, 0.5), counters=WRITTEN))
    assert run.last() is not None
    counters = {name: value for name, value in (WRITTEN | changes).items() if value is not None}
    run.write_last(replace(checkpoint(1, 0.5), counters=counters))
    with pytest.raises(CheckpointError, match=said):
        run.last()
