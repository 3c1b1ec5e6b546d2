import pytest

from mnas.checkpoints.image_input import conventional_input, numbered_classes, searched_input
from mnas.data import Cifar10BinarySettings, DigitsSettings, ImageFolderSettings
from mnas.data.settings import DataSettings


@pytest.mark.parametrize(("image_size", "crop"), [(32, 1.0), (95, 1.0), (96, 0.875), (224, 0.875)])
def test_small_images_are_evaluated_whole_and_large_ones_on_their_centre(image_size: int, crop: float) -> None:
    assert conventional_input(image_size, 3, 10).evaluation_crop == crop


def test_colour_images_are_normalized_as_imagenet_and_grey_ones_as_digits() -> None:
    assert conventional_input(32, 3, 10).mean == (0.485, 0.456, 0.406)
    assert conventional_input(32, 1, 10).std == (0.3755,)


def test_unnamed_classes_are_named_by_their_numbers() -> None:
    assert conventional_input(32, 3, 3).class_names == numbered_classes(3) == ("0", "1", "2")


@pytest.mark.parametrize(
    ("data", "mean", "crop"),
    [
        (DigitsSettings(), (0.3054,), 1.0),
        (Cifar10BinarySettings(directory="data"), (0.4914, 0.4822, 0.4465), 1.0),
        (ImageFolderSettings(directory="data", augment="inception", reward_images=2), (0.485, 0.456, 0.406), 0.875),
        (ImageFolderSettings(directory="data", augment="crop_flip", reward_images=2), (0.485, 0.456, 0.406), 1.0),
    ],
)
def test_a_search_hands_on_how_its_children_saw_images(
    data: DataSettings, mean: tuple[float, ...], crop: float
) -> None:
    form = searched_input(data, image_size=32, channels=len(mean), num_classes=10)
    assert (form.mean, form.evaluation_crop, form.num_classes) == (mean, crop, 10)
