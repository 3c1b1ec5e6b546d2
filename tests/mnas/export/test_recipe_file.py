from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mnas.checkpoints.image_input import conventional_input
from mnas.data import DigitsSettings, ImageFolderSettings, Normalization
from mnas.documents.errors import DocumentError
from mnas.errors import ConfigurationError
from mnas.experiment import Experiment, LatencySettings, SearchSettings
from mnas.export.recipe_file import FittedRecipe, recipe_for, write_recipe
from mnas.export.source import Source, find_source
from mnas.retrain.recipe import load_recipe
from mnas.search.run import Run
from mnas.training.settings import TrainingSettings

FORM = conventional_input(48, 3, 7)
REFERENCE = find_source("mnasnet-a1")


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
    recipe = recipe_for(template, REFERENCE, FORM).recipe
    assert (recipe.data.image_size, recipe.num_classes) == (48, 7)


def test_a_recipe_keeps_what_the_network_does_not_decide(template: Path) -> None:
    recipe = recipe_for(template, REFERENCE, FORM).recipe
    assert isinstance(recipe.data, ImageFolderSettings)
    assert (recipe.data.directory, recipe.data.augment, recipe.training.learning_rate) == (
        "data/mine",
        "crop_flip",
        1e-5,
    )


def test_a_recipe_names_no_architecture_but_the_folders(template: Path) -> None:
    recipe = recipe_for(template, REFERENCE, FORM).recipe
    assert (recipe.architecture, recipe.width) == (None, 1.0)


def test_a_written_recipe_reads_back_equal(template: Path, tmp_path: Path) -> None:
    fitted = recipe_for(template, REFERENCE, FORM)
    write_recipe(tmp_path / "recipe.yaml", fitted)
    assert load_recipe(tmp_path / "recipe.yaml") == fitted.recipe


def test_defaults_are_spelled_out(template: Path, tmp_path: Path) -> None:
    write_recipe(tmp_path / "recipe.yaml", recipe_for(template, REFERENCE, FORM))
    assert "weight_decay" in (tmp_path / "recipe.yaml").read_text()


def test_a_recipe_for_grey_images_does_not_fit_a_network_for_colours(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text("data: {format: digits}\ntraining: {epochs: 1, learning_rate: 0.1}\n")
    with pytest.raises(ConfigurationError, match=r"digits\.yaml: its images have 1 channels, the network takes 3"):
        recipe_for(tmp_path / "digits.yaml", REFERENCE, FORM)


def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("data: {format: digits}\n")
    with pytest.raises(DocumentError, match=r"bad\.yaml: key 'training' is missing"):
        recipe_for(tmp_path / "bad.yaml", REFERENCE, FORM)


def searched_on(run: Path, folder: Path) -> Source:
    """Return the best trial of the run as if its search had been on a folder of three classes."""
    source = find_source(str(run))
    assert source.run is not None
    normalize = Normalization(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    data = ImageFolderSettings(
        directory=str(folder), image_size=16, augment="none", normalize=normalize, reward_images=3, train_images=4
    )
    training = TrainingSettings(epochs=30, batch_size=4, learning_rate=0.01)
    experiment = Experiment(
        space="tiny16",
        data=data,
        training=training,
        search=SearchSettings(trials=3),
        latency=LatencySettings(target_ms=1.0),
    )
    form = conventional_input(16, 3, 3)
    return replace(source, input=form, run=Run(source.run.directory, experiment, form, 3))


@pytest.fixture
def fitted(tmp_path: Path, searched_run: Path, make_folder: Callable[..., Path]) -> FittedRecipe:
    folder = make_folder(tmp_path / "photos")
    (tmp_path / "long.yaml").write_text(
        "data: {format: image_folder, directory: data/other, image_size: 224, augment: crop_flip}\n"
        "training: {epochs: 10, batch_size: 64, learning_rate: 0.08, schedule: {name: cosine, warmup_epochs: 0.5}, "
        "ema: {decay: 0.999}}\n"
    )
    source = searched_on(searched_run, folder)
    return recipe_for(tmp_path / "long.yaml", source, source.input)


def test_the_images_are_those_of_the_search(fitted: FittedRecipe, tmp_path: Path) -> None:
    data = fitted.recipe.data
    assert isinstance(data, ImageFolderSettings)
    assert (data.directory, data.augment, data.image_size) == (str(tmp_path / "photos"), "none", 16)
    assert data.normalize.mean == (0.1, 0.2, 0.3)


def test_the_keys_of_the_search_are_left_out(fitted: FittedRecipe, tmp_path: Path) -> None:
    data = fitted.recipe.data
    assert isinstance(data, ImageFolderSettings)
    assert (data.reward_images, data.train_images) == (None, None)
    write_recipe(tmp_path / "recipe.yaml", fitted)
    assert load_recipe(tmp_path / "recipe.yaml") == fitted.recipe


def test_steps_and_averages_are_fitted_to_the_number_of_images(fitted: FittedRecipe) -> None:
    training = fitted.recipe.training
    assert training.batch_size == 8
    assert training.learning_rate == pytest.approx(0.01)
    assert training.ema is not None
    assert training.ema.ramp
    assert training.epochs > 10
    assert training.ema.decay < 0.999
    assert training.norm_momentum < 0.99
    assert training.schedule.warmup_epochs / training.epochs == pytest.approx(0.05, rel=0.01)


def test_what_was_fitted_is_written_and_told(fitted: FittedRecipe, tmp_path: Path) -> None:
    write_recipe(tmp_path / "recipe.yaml", fitted)
    text = (tmp_path / "recipe.yaml").read_text()
    assert all(f"# - {note}\n" in text for note in fitted.notes)
    assert any(note.startswith("training.epochs 10 -> ") for note in fitted.notes)


def test_a_recipe_for_no_search_says_what_does_not_fit(template: Path) -> None:
    notes = recipe_for(template, REFERENCE, FORM).notes
    assert "not fitted: images, epochs, batch size and moving averages are those of template.yaml" in notes


def test_images_that_are_gone_are_told(template: Path, searched_run: Path, tmp_path: Path) -> None:
    source = searched_on(searched_run, tmp_path / "gone")
    found = recipe_for(template, source, source.input)
    assert found.recipe.training == load_recipe(template).training
    assert "because the images of the search cannot be counted" in found.notes[-1]


def test_a_recipe_that_is_long_enough_keeps_its_epochs(searched_run: Path, tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(
        "data: {format: digits}\ntraining: {epochs: 400, learning_rate: 0.01, ema: {decay: 0.999}}\n"
    )
    source = find_source(str(searched_run))
    assert isinstance(load_recipe(tmp_path / "long.yaml").data, DigitsSettings)
    found = recipe_for(tmp_path / "long.yaml", source, source.input).recipe
    assert found.training == load_recipe(tmp_path / "long.yaml").training
