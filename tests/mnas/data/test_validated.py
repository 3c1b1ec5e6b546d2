"""Training images held out to validate on: the parts of a search's split, in one budget of memory."""

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mnas.data import Cifar10BinarySettings, DigitsSettings, ImageArrays, ImageFolderSettings, StreamedImages

Settings = DigitsSettings | Cifar10BinarySettings | ImageFolderSettings


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, make_folder: Callable[..., Path], make_cifar10: Callable[..., Path]
) -> dict[str, Settings]:
    root = tmp_path_factory.mktemp("data")
    make_folder(root / "folder")
    make_cifar10(root / "cifar10")
    return {
        "digits": DigitsSettings(image_size=16, reward_images=30),
        "cifar10": Cifar10BinarySettings(directory=str(root / "cifar10"), reward_images=30),
        "folder": ImageFolderSettings(directory=str(root / "folder"), image_size=16, reward_images=3, augment="none"),
        "streamed": ImageFolderSettings(directory=str(root / "folder"), image_size=16, reward_images=3),
    }


@pytest.mark.parametrize("name", ["digits", "cifar10", "folder", "streamed"])
def test_the_parts_are_those_of_a_search_with_the_same_seed(settings: dict[str, Settings], name: str) -> None:
    chosen = msgspec.structs.replace(settings[name], split_seed=7)
    assert chosen.reward_images is not None
    full, search = chosen.load_validated(chosen.reward_images, 7), chosen.load_search()
    assert full.validation is not None
    assert full.validation.fingerprint() == search.reward.fingerprint()
    assert full.train.fingerprint() == search.train.fingerprint()
    assert full.test.fingerprint() == chosen.load_full().test.fingerprint()


def test_what_is_held_out_is_prepared_like_the_test_set(settings: dict[str, Settings]) -> None:
    full = msgspec.structs.replace(settings["streamed"], storage="stream").load_validated(3, 0)
    assert isinstance(full.validation, StreamedImages)
    assert isinstance(full.test, StreamedImages)
    assert full.validation.evaluation_crop == full.test.evaluation_crop == 0.875


def test_all_parts_share_the_limit_of_memory(settings: dict[str, Settings]) -> None:
    image_gb = 16 * 16 * 3 / 1e9
    limited = msgspec.structs.replace(settings["folder"], memory_limit_gb=30 * image_gb)
    full = limited.load_validated(3, 0)  # 24 of the test set and 3 leave room for 3 of the 21 to train on
    assert isinstance(full.test, ImageArrays)
    assert isinstance(full.validation, ImageArrays)
    assert isinstance(full.train, StreamedImages)


def test_a_class_without_an_image_to_validate_on_is_told(
    settings: dict[str, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        settings["folder"].load_validated(2, 0)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("validation: 1 of 3 classes have no image among the 2 to validate on (")
