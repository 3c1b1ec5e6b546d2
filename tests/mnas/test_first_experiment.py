import doctest
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnas import first_experiment
from mnas.data.settings import ImageSettings
from mnas.documents.yaml_file import parse
from mnas.errors import ConfigurationError, DataError
from mnas.experiment import Experiment
from mnas.first_experiment import (
    STEPS,
    DataSummary,
    Plan,
    copy_experiment,
    experiment_yaml,
    look_at,
    plan,
    write_experiment,
)
from mnas.training.moving_averages import norm_momentum_for


def photos(folder: Path, counts: Mapping[str, int], side: int = 100, part: str = "train") -> Path:
    for name, count in counts.items():
        (folder / part / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (side + 20, side), (number, 0, 0)).save(folder / part / name / f"{number}.png")
    return folder


def summary(images: int, side: int = 300, classes: int = 2) -> DataSummary:
    sizes = {f"class{number}": images // classes for number in range(classes)}
    return DataSummary("photos", "image_folder", sizes, side, has_test_set=True)


def test_the_rules_give_the_documented_values() -> None:
    results = doctest.testmod(first_experiment)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("steps", [1, 79, 80, 400, 10_000])
def test_the_initial_statistics_are_forgotten_if_any_momentum_can(steps: int) -> None:
    momentum = norm_momentum_for(steps)
    assert momentum**steps <= np.exp(-8) or momentum == 0.8


def test_a_folder_of_photos_is_described(tmp_path: Path) -> None:
    seen = look_at(str(photos(tmp_path, {"ant": 12, "bee": 10})))
    assert (seen.format, dict(seen.class_sizes), seen.side) == ("image_folder", {"ant": 12, "bee": 10}, 100)
    assert not seen.has_test_set


def test_a_test_set_is_noticed(tmp_path: Path) -> None:
    photos(tmp_path, {"ant": 1, "bee": 1}, part="val")
    assert look_at(str(photos(tmp_path, {"ant": 2, "bee": 2}))).has_test_set


def test_cifar10_batches_are_described(tmp_path: Path) -> None:
    records = np.zeros((20, 3073), np.uint8)
    records[:, 0] = np.arange(20) % 10
    for number in range(1, 6):
        records.tofile(tmp_path / f"data_batch_{number}.bin")
    seen = look_at(str(tmp_path))
    assert (seen.format, seen.images, seen.side) == ("cifar10_binary", 100, 32)
    assert seen.class_sizes["truck"] == 10


def test_no_images_are_told_how_to_be_laid_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="DIRECTORY/train/CLASS/IMAGE"):
        look_at(str(tmp_path))


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs at least 2"):
        look_at(str(photos(tmp_path, {"ant": 20})))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (photos(tmp_path, {"ant": 10, "bee": 10}) / "train" / "bee" / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3\.png: cannot be read as an image"):
        look_at(str(tmp_path))


def test_a_class_without_images_to_spare_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class 'bee' has 9 training images, too few"):
        plan(look_at(str(photos(tmp_path, {"ant": 12, "bee": 9}))))


@pytest.mark.parametrize("images", [20, 60, 200, 1000, 50_000])
@pytest.mark.parametrize("side", [16, 32, 300])
def test_children_get_enough_steps_from_any_number_of_images(images: int, side: int) -> None:
    chosen = plan(summary(images, side))
    assert chosen.steps >= STEPS
    assert chosen.warmup_epochs < chosen.epochs


@pytest.mark.parametrize("images", [200, 50_000])
def test_children_train_for_about_a_minute_at_most(images: int) -> None:
    assert plan(summary(images)).child_s < 100


def test_few_images_get_few_trials_and_an_explanation() -> None:
    seen = summary(200)
    assert plan(seen).trials < plan(summary(5000)).trials
    assert "This is a small data set" in experiment_yaml(seen, plan(seen), "photos.yaml")


@pytest.mark.parametrize("images", [20, 200, 50_000])
@pytest.mark.parametrize("side", [16, 32, 300])
def test_what_is_written_is_an_experiment(images: int, side: int) -> None:
    seen = summary(images, side)
    chosen = plan(seen)
    experiment = parse(experiment_yaml(seen, chosen, "photos.yaml"), Experiment)
    experiment.check()
    assert read_back(experiment) == read_back(chosen)


def read_back(values: Experiment | Plan) -> tuple[object, ...]:
    if isinstance(values, Plan):
        return values.space, values.image_size, values.train_images, values.epochs, values.norm_momentum, values.trials
    data, training = values.data, values.training
    assert isinstance(data, ImageSettings)
    return (
        values.space,
        data.image_size,
        data.train_images,
        training.epochs,
        training.norm_momentum,
        values.search.trials,
    )


def test_no_line_is_longer_than_120_characters() -> None:
    seen = summary(200)
    assert max(len(line) for line in experiment_yaml(seen, plan(seen), "photos.yaml").splitlines()) <= 120


def test_an_experiment_is_written_next_to_the_folder_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "my photos", {"ant": 12, "bee": 10})
    assert write_experiment("my photos", None) == Path("my photos.yaml")
    assert Experiment.load("my photos.yaml").data.directory == "my photos"  # type: ignore[union-attr]


def test_a_copy_names_its_own_command(tmp_path: Path) -> None:
    path = copy_experiment("quickstart", tmp_path / "mine.yaml")
    assert f"mnas search {path}\n" in path.read_text()
    assert Experiment.load(path) == Experiment.load("quickstart")


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already"):
        copy_experiment("quickstart", tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none/mine\.yaml: cannot be written"):
        copy_experiment("quickstart", tmp_path / "none" / "mine.yaml")
