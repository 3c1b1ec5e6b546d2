from pathlib import Path

import numpy as np
import pytest

from mnas.bundled_files import find_recipe, recipe_names
from mnas.data import DigitsSettings, FullData, ImageArrays, ImageFolderSettings
from mnas.documents.errors import DocumentError
from mnas.errors import ConfigurationError, DataError
from mnas.export.recipe_file import FittedRecipe, write_recipe
from mnas.mindspore_setup import AscendSettings
from mnas.retrain.recipe import Recipe, ValidationSettings, load_recipe
from mnas.training.settings import TrainingSettings


@pytest.mark.parametrize("name", recipe_names())
def test_the_recipes_that_come_with_mnas_are_valid(name: str) -> None:
    assert load_recipe(find_recipe(name)).training.epochs >= 10


def test_the_recipe_of_mindcv_takes_the_published_number_of_steps() -> None:
    recipe = load_recipe(find_recipe("mnasnet_0.75_ascend"))
    steps_per_epoch = 1_281_167 // recipe.training.batch_size
    assert (steps_per_epoch, steps_per_epoch * recipe.training.epochs) == (625, 218_750)


def test_an_unknown_key_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("data: {format: digits}\ntraining: {epochs: 2, learning_rate: 0.1, lable_smoothing: 0.1}\n")
    with pytest.raises(DocumentError, match=r"recipe\.yaml: unknown key 'training\.lable_smoothing'.*label_smoothing"):
        load_recipe(path)


def test_data_can_be_elsewhere() -> None:
    data = ImageFolderSettings(directory="here")
    recipe = Recipe(data=data, training=TrainingSettings(epochs=1, learning_rate=0.1))
    moved = recipe.with_data_directory("there").data
    assert isinstance(moved, ImageFolderSettings)
    assert moved.directory == "there"


def test_the_digits_are_in_no_directory() -> None:
    recipe = Recipe(data=DigitsSettings(), training=TrainingSettings(epochs=1, learning_rate=0.1))
    with pytest.raises(ConfigurationError, match="leave --data out"):
        recipe.with_data_directory("there")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{format: digits, reward_images: 100}", r"`data\.reward_images` is for a search; .* leave it out"),
        ("{format: digits, train_images: 400}", r"`data\.train_images` is for a search"),
        ("{format: image_folder, directory: x, reward_images: 9}", r"`data\.reward_images` is for a search"),
        ("{format: digits, split_seed: 3}", r"`data\.split_seed` is for a search"),
        ("{format: digits, crop_padding: 2}", r"`data\.crop_padding` belongs to `augment: crop_flip`"),
    ],
)
def test_a_key_that_full_training_does_not_obey_is_refused(data: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"data: {data}\ntraining: {{epochs: 2, learning_rate: 0.1}}\n")
    with pytest.raises(ConfigurationError, match=rf"recipe\.yaml: {said}"):
        load_recipe(path)


def test_a_width_without_an_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("data: {format: digits}\ntraining: {epochs: 2, learning_rate: 0.1}\nwidth: 0.5\n")
    with pytest.raises(ConfigurationError, match=r"`width` is that of `architecture`, which is missing"):
        load_recipe(path)


def test_a_recipe_with_every_default_spelled_out_is_read(tmp_path: Path) -> None:
    recipe = Recipe(data=DigitsSettings(), training=TrainingSettings(epochs=1, learning_rate=0.1))
    write_recipe(tmp_path / "recipe.yaml", FittedRecipe(recipe, ()))
    assert "reward_images: 300" in (tmp_path / "recipe.yaml").read_text()
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize("jit_level", ["O1", "O2"])
def test_steps_are_sunk_at_o0_only(tmp_path: Path, jit_level: str) -> None:
    path = tmp_path / "recipe.yaml"
    training = "training: {epochs: 2, learning_rate: 0.1}"
    path.write_text(
        f"data: {{format: digits}}\n{training}\ndevice: Ascend\nsink_steps: 2\nascend: {{jit_level: {jit_level}}}\n"
    )
    with pytest.raises(DocumentError, match=f"`sink_steps` is for `jit_level: O0`; at {jit_level}"):
        load_recipe(path)


def test_mindcvs_files_compile_as_mindcv_does(tmp_path: Path) -> None:
    path = tmp_path / "mindcv.yaml"
    path.write_text("model: mnasnet_075\nepoch_size: 10\nscheduler: constant\n")
    assert load_recipe(path).compute.ascend == AscendSettings(jit_level="O2", op_compile=True)


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        ("{}", "give `share` or `images`"),
        ("{share: 0.1, images: 5}", "give `share` or `images`"),
        ("{share: 1.0}", r"'validation\.share' is 1\.0"),
        ("{share: .nan}", "validation"),
        ("{images: 0}", r"'validation\.images' is 0"),
    ],
)
def test_a_validation_part_that_cannot_be_is_refused(validation: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"data: {{format: digits}}\ntraining: {{epochs: 2, learning_rate: 0.1}}\nvalidation: {validation}\n"
    )
    with pytest.raises(DocumentError, match=said):
        load_recipe(path)


@pytest.mark.parametrize("validation", [ValidationSettings(images=144), ValidationSettings(share=0.1)])
def test_held_out_images_are_balanced_and_not_trained_on(validation: ValidationSettings) -> None:
    training = TrainingSettings(epochs=1, learning_rate=0.1)
    data = Recipe(data=DigitsSettings(image_size=16), training=training, validation=validation).load_data()
    assert isinstance(data.validation, ImageArrays)
    assert (len(data.train), len(data.validation), len(data.test)) == (1437 - 144, 144, 360)
    shares = np.bincount(data.validation.labels) / np.bincount(DigitsSettings().load_training().labels)
    assert shares.min() > 0.09
    assert shares.max() < 0.11
    assert data.fingerprint() != FullData(data.train, data.test).fingerprint()


def test_a_validation_part_leaves_images_to_train_on() -> None:
    training = TrainingSettings(epochs=1, learning_rate=0.1)
    recipe = Recipe(data=DigitsSettings(), training=training, validation=ValidationSettings(images=1437))
    with pytest.raises(DataError, match=r"`validation.images` holds out 1,437 of 1,437 training images"):
        recipe.load_data()
