from pathlib import Path

import pytest

from mnas.checkpoints.image_input import conventional_input
from mnas.data import DigitsSettings, ImageFolderSettings
from mnas.documents.errors import DocumentError
from mnas.errors import ConfigurationError
from mnas.experiment import Experiment, LatencySettings, SearchSettings
from mnas.export.recipe_file import recipe_for, write_recipe
from mnas.retrain.recipe import load_recipe
from mnas.training.settings import TrainingSettings

FORM = conventional_input(48, 3, 7)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.yaml"
    path.write_text(
        "architecture: mnasnet-b1\nwidth: 0.75\n"
        "data: {format: image_folder, directory: data/mine, image_size: 224, augment: crop_flip}\n"
        "training: {epochs: 3, learning_rate: 1e-5}\n"
    )
    return path


def test_a_recipe_gets_the_form_of_the_network(template: Path) -> None:
    recipe = recipe_for(template, FORM)
    assert (recipe.data.image_size, recipe.num_classes) == (48, 7)


def test_a_recipe_keeps_what_the_network_does_not_decide(template: Path) -> None:
    recipe = recipe_for(template, FORM)
    assert isinstance(recipe.data, ImageFolderSettings)
    assert (recipe.data.directory, recipe.data.augment, recipe.training.learning_rate) == (
        "data/mine",
        "crop_flip",
        1e-5,
    )


def test_a_recipe_names_no_architecture_but_the_folders(template: Path) -> None:
    recipe = recipe_for(template, FORM)
    assert (recipe.architecture, recipe.width) == (None, 1.0)


def test_a_written_recipe_reads_back_equal(template: Path, tmp_path: Path) -> None:
    recipe = recipe_for(template, FORM)
    write_recipe(tmp_path / "recipe.yaml", recipe)
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_defaults_are_spelled_out(template: Path, tmp_path: Path) -> None:
    write_recipe(tmp_path / "recipe.yaml", recipe_for(template, FORM))
    assert "weight_decay" in (tmp_path / "recipe.yaml").read_text()


def test_a_recipe_for_grey_images_does_not_fit_a_network_for_colours(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text("data: {format: digits}\ntraining: {epochs: 1, learning_rate: 0.1}\n")
    with pytest.raises(ConfigurationError, match=r"digits\.yaml: its images have 1 channels, the network takes 3"):
        recipe_for(tmp_path / "digits.yaml", FORM)


def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("data: {format: digits}\n")
    with pytest.raises(DocumentError, match=r"bad\.yaml: key 'training' is missing"):
        recipe_for(tmp_path / "bad.yaml", FORM)


def test_a_recipe_for_a_run_has_the_images_of_its_search(template: Path) -> None:
    search = Experiment(
        space="tiny16",
        data=DigitsSettings(image_size=16, reward_images=100, train_images=500),
        training=TrainingSettings(epochs=2, learning_rate=0.01, norm_momentum=0.9),
        search=SearchSettings(trials=3),
        latency=LatencySettings(target_ms=1.0),
    )
    template.write_text(template.read_text().replace("1e-5}", "1e-5, ema: {decay: 0.9999, ramp: false}}"))
    recipe = recipe_for(template, conventional_input(16, 1, 10), search)
    recipe.check_keys("recipe")
    assert recipe.data == DigitsSettings(image_size=16)
    assert recipe.training.norm_momentum == 0.9
    assert recipe.training.ema is not None
    assert recipe.training.ema.ramp
    assert (recipe.training.epochs, recipe.training.learning_rate) == (3, 1e-5)
