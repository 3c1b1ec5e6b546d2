import pytest

from mnas.checkpoints.image_input import conventional_input


@pytest.mark.parametrize(("image_size", "crop"), [(32, 1.0), (95, 1.0), (96, 0.875), (224, 0.875)])
def test_small_images_are_evaluated_whole_and_large_ones_on_their_centre(image_size: int, crop: float) -> None:
    assert conventional_input(image_size, 3, 10).evaluation_crop == crop


def test_colour_images_are_normalized_as_imagenet_and_grey_ones_as_digits() -> None:
    assert conventional_input(32, 3, 10).mean == (0.485, 0.456, 0.406)
    assert conventional_input(32, 1, 10).std == (0.3755,)


def test_the_names_of_the_classes_are_not_known() -> None:
    form = conventional_input(32, 3, 3)
    assert (form.num_classes, form.class_names) == (3, None)
