"""From image file to pixels, with Pillow.

Every image becomes 8-bit RGB: grey is repeated on three channels, palettes are looked up, CMYK is converted,
transparency is dropped. Images with more than 8 bits per channel in one plane (modes I and F) are refused, since
converting would clip them. Of several frames (GIF, TIFF) the first is taken. The orientation that a camera writes
(EXIF) is applied, so that a picture is the one that viewers show.
"""

import io
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from mnas.data.folder import FileListing
from mnas.data.image_form import Interpolation
from mnas.data.preprocessing import Uint8Images
from mnas.errors import DataError

# What Pillow raises for damaged files, depending on the format and on where the damage is.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_JPEG_END = b"\xff\xd9"
# By the value of EXIF's orientation; 1 is upright.
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_CHUNK = 1024

_Result = TypeVar("_Result")


def decode_squares(
    listing: FileListing,
    image_size: int,
    crop_fraction: float,
    workers: int,
    interpolation: Interpolation = "bilinear",
) -> Uint8Images:
    """Decode all files to (count, image_size, image_size, 3): a centred square of each, resized.

    The filter covers all pixels that fall together (antialiased).

    Args:
        listing: The files.
        image_size: Height and width of the result, in pixels.
        crop_fraction: Side of the square as a fraction of the picture's shorter side.
        workers: Threads; Pillow decodes and resizes outside Python's lock.
        interpolation: The filter.

    Raises:
        DataError: A file cannot be read as an image.
    """
    resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    images = np.empty((len(listing), image_size, image_size, 3), np.uint8)

    def decode(position: int) -> None:
        picture = decode_rgb(listing.path(position))
        side = min(picture.size) * crop_fraction
        left, top = (picture.width - side) / 2, (picture.height - side) / 2
        box = (left, top, left + side, top + side)
        images[position] = picture.resize((image_size, image_size), resampling, box=box)

    for _ in _in_threads(decode, len(listing), workers):
        pass
    return images


def decode_rgb(path: Path) -> Image.Image:
    """Decode a whole file to RGB.

    Raises:
        DataError: The file cannot be read as an image.
    """
    return _to_rgb(path, _read(path))


def encoded_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Return a file's bytes (count,), or those of an RGB bitmap file of it.

    The bytes are the file's own if it is a whole, upright RGB JPEG. MindSpore's decoders end the process on some
    damaged files and fill the missing part of others with grey, so only what Pillow has recognised reaches them.

    Raises:
        DataError: The file cannot be read as an image.
    """
    content = _read(path)
    try:
        header = Image.open(io.BytesIO(content))
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    is_plain = header.format == "JPEG" and header.mode == "RGB" and content.endswith(_JPEG_END)
    if not is_plain or _transposition(header) is not None:
        bitmap = io.BytesIO()
        _to_rgb(path, content).save(bitmap, "BMP")
        content = bitmap.getvalue()
    return np.frombuffer(content, np.uint8)


def broken_files(listing: FileListing, workers: int) -> Iterator[DataError]:
    """Decode every file, and yield the error of each one that cannot be decoded."""

    def examine(position: int) -> DataError | None:
        try:
            decode_rgb(listing.path(position))
        except DataError as error:
            return error
        return None

    for error in _in_threads(examine, len(listing), workers):
        if error is not None:
            yield error


def _in_threads(function: Callable[[int], _Result], count: int, workers: int) -> Iterator[_Result]:
    """Yield the results for 0 .. count - 1, in order. In chunks: a million waiting calls would take a gigabyte."""
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, count, _CHUNK):
            yield from pool.map(function, range(start, min(start + _CHUNK, count)))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from error


def _to_rgb(path: Path, content: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
        if picture.mode[0] in "IF":
            raise ValueError(f"more than 8 bits per channel, mode {picture.mode}")
        # Pillow wants palettes with transparency to go through RGBA.
        with_alpha = picture.convert("RGBA") if picture.mode == "P" and "transparency" in picture.info else picture
        rgb = with_alpha.convert("RGB")
        transposition = _transposition(picture)
        return rgb if transposition is None else rgb.transpose(transposition)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def _transposition(picture: Image.Image) -> Image.Transpose | None:
    """Return what makes a picture upright; None if it is, or if its EXIF data is damaged."""
    try:
        return _TRANSPOSITIONS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except (*_DAMAGE, TypeError, KeyError, IndexError):
        return None


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = "unknown or damaged format" if isinstance(error, UnidentifiedImageError) else str(error)
    return DataError(
        f"{path}: cannot be read as an 8-bit image ({reason}); replace or remove it "
        f"(`python -m mnas.data.check {path.parents[2]}` lists every such file)"
    )
