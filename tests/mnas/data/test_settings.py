from pathlib import Path
from typing import Any

import msgspec
import pytest

from mnas.data import Cifar10BinarySettings, DataSettings, DigitsSettings, ImageFolderSettings
from mnas.data.settings import ImageSettings

FOLDER = {"format": "image_folder", "directory": "images", "reward_images": 10}
CIFAR10 = {"format": "cifar10_binary", "directory": "cifar"}


def convert(**data: object) -> DataSettings:
    """Convert as an experiment does: from plain values, under the key `data`."""
    converted = msgspec.convert({"data": data}, dict[str, DataSettings])
    return converted["data"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [({"format": "digits"}, DigitsSettings), (CIFAR10, Cifar10BinarySettings), (FOLDER, ImageFolderSettings)],
)
def test_format_chooses_the_struct(data: dict[str, Any], kind: type) -> None:
    assert type(convert(**data)) is kind


@pytest.mark.parametrize(
    ("data", "augment", "image_size", "padding"),
    [({"format": "digits"}, "none", 32, 4), (CIFAR10, "crop_flip", 32, 4), (FOLDER, "inception", 224, 28)],
)
def test_defaults_per_format(data: dict[str, Any], augment: str, image_size: int, padding: int) -> None:
    settings = convert(**data)
    assert isinstance(settings, ImageSettings)
    assert (settings.augment, settings.image_size, settings.padding) == (augment, image_size, padding)


def test_padding_can_be_set_to_nothing() -> None:
    settings = convert(**CIFAR10, crop_padding=0)
    assert isinstance(settings, Cifar10BinarySettings)
    assert settings.padding == 0


@pytest.mark.parametrize(("augment", "fraction"), [("inception", 0.875), ("crop_flip", 1.0), ("none", 1.0)])
def test_evaluation_crop_follows_the_augmentation(augment: str, fraction: float) -> None:
    settings = convert(**FOLDER, augment=augment)
    assert isinstance(settings, ImageFolderSettings)
    assert settings.evaluation_crop_fraction == fraction


def test_evaluation_crop_can_be_set() -> None:
    settings = convert(**FOLDER, evaluation_crop=0.95)
    assert isinstance(settings, ImageFolderSettings)
    assert settings.evaluation_crop_fraction == 0.95


def test_the_path_is_absolute_and_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = convert(**FOLDER | {"directory": "~/images"})
    assert isinstance(settings, ImageFolderSettings)
    assert settings.path == tmp_path / "images"
    monkeypatch.chdir(tmp_path)
    relative = convert(**CIFAR10)
    assert isinstance(relative, Cifar10BinarySettings)
    assert relative.path == tmp_path / "cifar"


def test_settings_survive_a_round_trip() -> None:
    settings = convert(**FOLDER, split_seed=7, normalize={"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]})
    assert convert(**msgspec.to_builtins(settings)) == settings


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"format": "tfrecord"}, r"Invalid value 'tfrecord' - at `\$\[...\].format`"),
        ({}, r"missing required field `format`"),
        ({"format": "digits", "image_siz": 32}, r"unknown field `image_siz`"),
        ({"format": "digits", "image_size": 7}, r"Expected `int` >= 8 - at `\$\[...\].image_size`"),
        ({"format": "digits", "image_size": 1025}, r"Expected `int` <= 1024 - at `\$\[...\].image_size`"),
        ({"format": "digits", "image_size": "32"}, r"Expected `int`, got `str` - at `\$\[...\].image_size`"),
        ({"format": "digits", "reward_images": 0}, r"Expected `int` >= 1 - at `\$\[...\].reward_images`"),
        ({"format": "digits", "train_images": 0}, r"Expected `int` >= 1 - at `\$\[...\].train_images`"),
        ({"format": "digits", "split_seed": -1}, r"Expected `int` >= 0 - at `\$\[...\].split_seed`"),
        (
            {"format": "digits", "augment": "inception"},
            r"Invalid enum value 'inception' - at `\$\[...\].augment`",
        ),
        (
            {"format": "digits", "crop_padding": 32},
            r"`crop_padding` must be less than `image_size` \(32\), found 32",
        ),
        ({"format": "cifar10_binary"}, r"missing required field `directory`"),
        (CIFAR10 | {"directory": ""}, r"Expected `str` of length >= 1 - at `\$\[...\].directory`"),
        (
            FOLDER | {"test_folder": "../test"},
            r"Expected `str` matching regex .* - at `\$\[...\].test_folder`",
        ),
        (FOLDER | {"evaluation_crop": 1.5}, r"Expected `float` <= 1.0 - at `\$\[...\].evaluation_crop`"),
        (FOLDER | {"memory_limit_gb": 0}, r"Expected `float` > 0.0 - at `\$\[...\].memory_limit_gb`"),
        (FOLDER | {"decode_workers": 0}, r"Expected `int` >= 1 - at `\$\[...\].decode_workers`"),
        (FOLDER | {"augment": "crop_flip", "color_jitter": 0.4}, r"`color_jitter` belongs to `augment: inception`"),
        (FOLDER | {"storage": "memory"}, r"`storage: memory` cannot serve `augment: inception`"),
        (
            {"format": "digits", "normalize": {"mean": [0.5, 0.5], "std": [0.5, 0.5]}},
            r"`normalize` needs 1 values for `mean` and `std`, found 2",
        ),
        (CIFAR10 | {"normalize": {"mean": [0.5], "std": [0.5]}}, r"`normalize` needs 3 values"),
        (
            FOLDER | {"normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.5]}},
            r"`mean` has 3 values and `std` 1: give one per channel - at `\$\[...\].normalize`",
        ),
        (FOLDER | {"normalize": {"mean": [123.675, 0, 0], "std": [1, 1, 1]}}, r"Expected `float` <= 1.0"),
        (FOLDER | {"normalize": {"mean": [0, 0, 0], "std": [0, 1, 1]}}, r"Expected `float` > 0.0"),
        (
            FOLDER | {"normalize": {"mean": [float("nan"), 0, 0], "std": [1, 1, 1]}},
            r"Expected `float` >= 0.0",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_path(data: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        convert(**data)
