"""Data that a user's own function loads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from mnas.checkpoints.image_input import conventional_input
from mnas.data import DataSettings, ImageSource, OwnDataSettings, load_images
from mnas.documents.errors import DocumentError
from mnas.errors import ConfigurationError, DataError
from tests.mnas.data.source_contract import ImageSourceContract

# A module as a user writes it: a source of its own, and functions that give it.
MODULE = '''
from dataclasses import dataclass

import numpy as np

from mnas.data import FullData, ImageArrays, Preprocessing, SearchData
from mnas.data.order import chosen_batches, epoch_order

NAMES = ("dark", "bright")


@dataclass(frozen=True)
class Shades:
    """Images of one shade each; every other one is bright, class 1."""

    count: int
    image_size: int = 16
    channels: int = 1
    num_classes: int = 2
    class_names: tuple = NAMES
    first_label: int = 0
    dtype: str = "float32"

    def __len__(self):
        return self.count

    def _batch(self, positions):
        bright = np.asarray(positions) % 2
        shape = (len(bright), self.channels, self.image_size, self.image_size)
        shades = bright - np.asarray(positions) / (2 * self.count)
        images = np.broadcast_to(shades.reshape(-1, 1, 1, 1), shape).astype(self.dtype)
        return images, bright.astype(np.int32) + np.int32(self.first_label)

    def training_batches(self, batch_size, *, seed, epoch, batches=None):
        order = epoch_order(self.count, seed=seed, epoch=epoch)
        for number in chosen_batches(self.count, batch_size, batches):
            yield self._batch(order[number * batch_size : (number + 1) * batch_size])

    def evaluation_batches(self, batch_size):
        for start in range(0, self.count, batch_size):
            yield self._batch(np.arange(start, min(start + batch_size, self.count)))

    def fingerprint(self):
        return f"{self.count} shades"

    def describe(self):
        return f"{self.count} shades"


def shades(count=192, **changes):
    return SearchData(Shades(count, **changes), Shades(64))


def full(count=192, **changes):
    return FullData(Shades(count), Shades(64, **changes))


def with_validation(**changes):
    return FullData(Shades(192), Shades(64), Shades(32, **changes))


def arrays(label=0):
    images = np.zeros((8, 16, 16, 1), np.uint8)
    labels = np.full(8, label, np.int32)
    source = ImageArrays(images, labels, NAMES, Preprocessing(crop=0, flip=False, mean=(0.5,), std=(0.25,)))
    return SearchData(source, source)


def no_source():
    return SearchData(images, None)


def images():
    return [1, 2, 3]


def broken():
    return {}["photos"]


THRESHOLD = 3
'''
NORMALIZE = {"mean": [0.5], "std": [0.25]}


@pytest.fixture(autouse=True)
def _own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_shades.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_shades", raising=False)


def settings(function: str, options: dict[str, Any] | None = None, **more: Any) -> OwnDataSettings:
    given = {"source": f"own_shades:{function}", "options": options or {}, "image_size": 16, "normalize": NORMALIZE}
    return msgspec.convert(given | more, OwnDataSettings)


class TestOwnSource(ImageSourceContract):
    @pytest.fixture
    def source(self) -> ImageSource:
        return settings("shades").load_search().train


def test_format_own_chooses_the_settings() -> None:
    given = {"format": "own", "source": "a.b:c", "image_size": 16, "normalize": NORMALIZE}
    assert type(msgspec.convert(given, DataSettings)) is OwnDataSettings


def test_the_function_is_called_with_the_options() -> None:
    assert len(settings("shades", {"count": 24}).load_search().train) == 24


def test_a_search_takes_what_the_function_holds_out() -> None:
    data = settings("shades").load_search()
    assert (len(data.train), len(data.reward)) == (192, 64)


def test_full_training_takes_full_data() -> None:
    data = settings("full").load_full()
    assert (len(data.train), len(data.test)) == (192, 64)


def test_full_training_takes_the_validation_part_of_the_function() -> None:
    held_out = settings("with_validation").load_full().validation
    assert held_out is not None
    assert len(held_out) == 32


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"first_label": 1}, "own_shades:with_validation: validation: has labels from 1 to 2"),
        ({"class_names": ("bright", "dark")}, "class names of train: dark, bright, of validation: bright, dark"),
    ],
)
def test_the_validation_part_of_the_function_is_checked(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        settings("with_validation", changes).load_full()


def test_validation_takes_the_test_set_of_full_data() -> None:
    assert len(load_images("own_shades:full", conventional_input(16, 1, 2))) == 64


def test_validation_needs_images_of_the_networks_size() -> None:
    with pytest.raises(DataError, match=r"train has images of 16 pixels, but `data\.image_size` .* has 32"):
        load_images("own_shades:full", conventional_input(32, 1, 2))


def test_validation_needs_the_networks_classes() -> None:
    form = msgspec.structs.replace(conventional_input(16, 1, 2), class_names=("night", "day"))
    with pytest.raises(DataError, match=r"dark, bright.* are not those that the network was trained on"):
        load_images("own_shades:full", form)


def test_checkpoints_keep_how_the_function_prepares_images() -> None:
    data = settings("shades", evaluation_crop=0.875, interpolation="bicubic")
    form = data.input_form(data.load_search().train)
    assert (form.mean, form.std, form.evaluation_crop, form.interpolation) == ((0.5,), (0.25,), 0.875, "bicubic")
    assert (form.image_size, form.channels, form.class_names) == (16, 1, ("dark", "bright"))


def test_a_source_that_tells_its_preprocessing_needs_no_normalize() -> None:
    data = settings("arrays", normalize=None)
    assert data.input_form(data.load_search().train).std == (0.25,)


def test_a_source_that_tells_nothing_needs_normalize() -> None:
    with pytest.raises(DataError, match=r"own_shades:shades: does not tell how it normalizes.*`data\.normalize`"):
        settings("shades", normalize=None).load_search()


def test_normalize_must_be_what_the_source_tells() -> None:
    with pytest.raises(DataError, match=r"normalizes by mean \[0\.5\] and std \[0\.25\], but .* has mean \[0\.4\]"):
        settings("arrays", normalize={"mean": [0.4], "std": [0.25]}).load_search()


def test_own_data_is_in_no_directory() -> None:
    with pytest.raises(ConfigurationError, match="own_shades:full, not from a directory: leave --data out"):
        settings("full").located("photos")


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        ("full", {}, r"returned FullData, but a search needs SearchData\(train, reward\)"),
        ("images", {}, "returned list, but a search needs SearchData"),
        ("THRESHOLD", {}, "own_shades:THRESHOLD: is no function"),
        ("broken", {}, r"KeyError: 'photos' \(.*own_shades\.py, line \d+\); correct that code"),
        ("shades", {"cuont": 3}, r"unexpected keyword argument 'cuont'"),
        ("no_source", {}, r"own_shades:no_source: train is function, which is no ImageSource: it has no __len__"),
        ("shades", {"image_size": 32}, "image size of train: 32, of reward: 16; make them equal"),
        ("shades", {"channels": 3}, "number of channels of train: 3, of reward: 1; make them equal"),
        ("shades", {"num_classes": 3}, "train has 3 classes and 2 class names"),
        ("shades", {"count": 0}, "train has no images; give at least one"),
        (
            "shades",
            {"class_names": ["day", "night"]},
            "class names of train: day, night, of reward: dark, bright; make them equal",
        ),
        ("shades", {"dtype": "float64"}, r"has images float64 \(64, 1, 16, 16\); they must be float32"),
        ("shades", {"first_label": 1}, "has labels from 1 to 2; with 2 classes they must be 0 to 1"),
        ("shades", {"first_label": -1}, "has labels from -1 to 0; with 2 classes they must be 0 to 1"),
        ("arrays", {"label": 2}, "the labels are 2 to 2; with 2 class names they must be 0 to 1"),
    ],
)
def test_what_the_function_returns_is_checked(function: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        settings(function, options).load_search()


def test_normalize_needs_values_for_every_channel() -> None:
    with pytest.raises(DataError, match=r"its images have 1 channels, but .* has values for 3"):
        settings("shades", normalize={"mean": [0.5] * 3, "std": [0.2] * 3}).load_search()


def test_full_training_needs_full_data() -> None:
    with pytest.raises(DataError, match=r"returned SearchData, but full training .* FullData\(train, test\)"):
        settings("shades").load_full()


def test_the_test_set_is_checked_too() -> None:
    with pytest.raises(DataError, match="own_shades:full: test: has labels from 1 to 2"):
        settings("full", {"first_label": 1}).load_full()


def test_a_missing_function_is_named() -> None:
    with pytest.raises(DocumentError, match="own_shades has no photos"):
        settings("photos").load_search()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "photos.py"}, r"`source` must have the form package\.module:function, found 'photos\.py'"),
        ({"normalize": {"mean": [0.5], "std": []}}, "`mean` has 1 values and `std` 0: give one per channel"),
        ({"reward_images": 5}, "unknown field `reward_images`"),
    ],
)
def test_wrong_settings_are_explained(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        settings("shades", **changes)


@pytest.mark.parametrize("place", ["working directory", "PYTHONPATH"])
def test_a_search_trains_its_children_on_own_data(tmp_path: Path, place: str) -> None:
    """The real command: Ray's workers import the user's module, too, for the source is a class of it."""
    work = tmp_path if place == "working directory" else tmp_path / "elsewhere"
    work.mkdir(exist_ok=True)
    own = {"format": "own", "source": "own_shades:shades", "image_size": 16, "normalize": NORMALIZE}
    document = {
        "space": "tiny16",
        "data": own,
        "training": {"epochs": 1, "learning_rate": 0.01, "norm_momentum": 0.9},
        "search": {"trials": 1, "workers": 1},
        "latency": {"target_ms": 0.1},
    }
    (work / "own.yaml").write_text(yaml.safe_dump(document))
    path = os.pathsep.join(entry for entry in sys.path if entry and entry != str(tmp_path))
    environment = os.environ | {
        "PYTHONPATH": path if place == "working directory" else os.pathsep.join((str(tmp_path), path)),
        "PYTHONSAFEPATH": "1",  # As the installed command `mnas`: the working directory is not on Python's path.
    }
    command = [sys.executable, "-m", "mnas", "search", "own.yaml", "--run-dir", "run", "--json"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["complete"] == 1
