import pytest

from mnas.data import Cifar10BinarySettings, DigitsSettings, ImageFolderSettings, ImageForm
from mnas.data.settings import ImageSettings
from search_space import reference

NAMES = tuple("abcdefghij")


def test_a_form_lowers_an_architecture_for_its_images() -> None:
    network = ImageForm(32, 1, 7).lower(reference("mnasnet-a1").architecture)
    assert (network.image_size, network.channels, network.num_classes) == (32, 1, 7)


def test_a_network_has_the_form_that_it_was_lowered_for() -> None:
    form = ImageForm(32, 1, 7)
    assert ImageForm.of(form.lower(reference("mnasnet-a1").architecture)) == form


@pytest.mark.parametrize(
    ("data", "mean", "crop"),
    [
        (DigitsSettings(), (0.3054,), 1.0),
        (Cifar10BinarySettings(directory="data"), (0.4914, 0.4822, 0.4465), 1.0),
        (ImageFolderSettings(directory="data", augment="inception", reward_images=2), (0.485, 0.456, 0.406), 0.875),
        (ImageFolderSettings(directory="data", augment="crop_flip", reward_images=2), (0.485, 0.456, 0.406), 1.0),
    ],
)
def test_settings_tell_how_evaluation_prepares_images(
    data: ImageSettings, mean: tuple[float, ...], crop: float
) -> None:
    form = data.prepared(ImageForm(32, len(mean), 10), NAMES, data.normalize)
    assert (form.mean, form.evaluation_crop, form.class_names) == (mean, crop, NAMES)


def test_the_filter_of_an_image_folder_is_kept() -> None:
    data = ImageFolderSettings(directory="data", interpolation="bicubic")
    assert data.prepared(ImageForm(32, 3, 10), NAMES, data.normalize).interpolation == "bicubic"
