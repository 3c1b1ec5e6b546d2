from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from mnas.data.decoding import broken_files, decode_rgb, decode_squares, encoded_rgb
from mnas.data.folder import list_training
from mnas.errors import DataError

MakeFolder = Callable[..., Path]
COLOUR = (200, 100, 50)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where an image of class `ant` would lie."""
    folder = tmp_path / "train" / "ant"
    folder.mkdir(parents=True)
    return folder / "picture"


@pytest.fixture
def noise() -> Image.Image:
    pixels = np.random.default_rng(0).integers(256, size=(60, 80, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("mode", "format", "expected"),
    [
        ("RGB", "PNG", COLOUR),
        ("RGB", "JPEG", COLOUR),
        ("RGBA", "PNG", COLOUR),
        ("CMYK", "JPEG", COLOUR),
        ("P", "PNG", COLOUR),
        ("L", "JPEG", (124, 124, 124)),
        ("L", "PNG", (124, 124, 124)),
        ("1", "PNG", (0, 0, 0)),
    ],
)
def test_every_8_bit_mode_becomes_rgb(file: Path, mode: str, format: str, expected: tuple[int, int, int]) -> None:
    palette = Image.Palette.ADAPTIVE
    Image.new("RGB", (8, 8), COLOUR).convert(mode, palette=palette, dither=Image.Dither.NONE).save(file, format)
    for picture in (decode_rgb(file), Image.open(BytesIO(encoded_rgb(file).tobytes()))):
        assert picture.mode == "RGB"
        assert np.abs(np.asarray(picture).astype(int) - expected).max() <= 3


def test_palettes_with_transparency_are_converted_without_a_warning(
    file: Path, recwarn: pytest.WarningsRecorder
) -> None:
    Image.new("RGB", (8, 8), COLOUR).quantize(4).save(file, "PNG", transparency=bytes([0, 128]))
    assert np.abs(np.asarray(decode_rgb(file)).astype(int) - COLOUR).max() <= 3
    assert not recwarn.list


def test_whole_rgb_jpegs_are_passed_on_unchanged(file: Path, noise: Image.Image) -> None:
    noise.save(file, "JPEG")
    assert encoded_rgb(file).tobytes() == file.read_bytes()


def test_jpegs_followed_by_other_bytes_are_passed_on_as_bitmaps(file: Path, noise: Image.Image) -> None:
    noise.save(file, "JPEG")
    expected = np.asarray(decode_rgb(file))
    file.write_bytes(file.read_bytes() + b"trailer")
    assert np.array_equal(np.asarray(Image.open(BytesIO(encoded_rgb(file).tobytes()))), expected)


@pytest.mark.parametrize("read", [decode_rgb, encoded_rgb])
@pytest.mark.parametrize(
    ("format", "kept"),
    [("JPEG", 0), ("JPEG", 300), ("JPEG", 2000), ("PNG", 20), ("PNG", 2000), ("BMP", 2000)],
)
def test_truncated_files_are_refused_by_name(
    file: Path, noise: Image.Image, format: str, kept: int, read: Callable[[Path], object]
) -> None:
    noise.save(file, format)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"train/ant/picture: cannot be read as an 8-bit image \(.+\); replace or"):
        read(file)


@pytest.mark.parametrize("read", [decode_rgb, encoded_rgb])
def test_files_that_are_no_images_are_refused(file: Path, read: Callable[[Path], object]) -> None:
    file.write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"unknown or damaged format.*`python -m mnas\.data\.check "):
        read(file)


def test_16_bit_images_are_refused(file: Path) -> None:
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(file, "PNG")
    with pytest.raises(DataError, match=r"more than 8 bits per channel, mode I;16"):
        decode_rgb(file)


def test_missing_files_are_named(file: Path) -> None:
    with pytest.raises(DataError, match=r"picture: cannot be read \(No such file or directory\); check the file"):
        decode_rgb(file)


def test_squares_are_cut_from_the_centre(tmp_path: Path, make_folder: MakeFolder) -> None:
    listing = list_training(make_folder(tmp_path, images=1))
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = COLOUR
    Image.fromarray(picture).save(listing.path(1))
    squares = decode_squares(listing, 20, 1.0, workers=2)
    assert squares.shape == (3, 20, 20, 3)
    # At the rim the filter reaches a pixel beyond the square.
    assert np.array_equal(squares[1, 1:-1, 1:-1], np.broadcast_to(np.array(COLOUR, np.uint8), (18, 18, 3)))


def test_a_crop_fraction_leaves_out_the_border(tmp_path: Path, make_folder: MakeFolder) -> None:
    listing = list_training(make_folder(tmp_path, images=1))
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[8:32, 8:32] = COLOUR
    Image.fromarray(picture).save(listing.path(0))
    square = decode_squares(listing, 20, 0.5, workers=1)[0]
    assert np.array_equal(square, np.broadcast_to(np.array(COLOUR, np.uint8), (20, 20, 3)))


def test_every_broken_file_is_found(tmp_path: Path, make_folder: MakeFolder) -> None:
    listing = list_training(make_folder(tmp_path))
    for position in (3, 17):
        listing.path(position).write_bytes(b"broken")
    errors = list(broken_files(listing, workers=2))
    assert [str(error).split(":")[0] for error in errors] == [str(listing.path(3)), str(listing.path(17))]


def marked(orientation: int) -> tuple[Image.Image, Image.Exif]:
    """A picture whose left half is red, as it is stored, and EXIF data that says how to turn it."""
    picture = Image.new("RGB", (16, 8), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return picture, exif


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera_is_applied_in_memory_and_streamed(
    file: Path, orientation: int, format: str
) -> None:
    picture, exif = marked(orientation)
    picture.save(file, format, exif=exif)
    with Image.open(file) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    for decoded in (decode_rgb(file), Image.open(BytesIO(encoded_rgb(file).tobytes()))):
        np.testing.assert_array_equal(np.asarray(decoded.convert("RGB")), upright)


def test_damaged_exif_data_is_passed_over(file: Path) -> None:
    picture, _ = marked(6)
    picture.save(file, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert decode_rgb(file).size == (16, 8)
    assert encoded_rgb(file).tobytes() == file.read_bytes()


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".tiff", ".jfif"])
def test_formats_of_pillow_are_decoded(tmp_path: Path, make_folder: MakeFolder, suffix: str) -> None:
    listing = list_training(make_folder(tmp_path, images=1, suffix=suffix))
    assert [decode_rgb(listing.path(position)).size for position in range(len(listing))] == [(20, 16)] * 3
