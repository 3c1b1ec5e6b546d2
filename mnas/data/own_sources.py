"""Checks of image sources that come from the user's own code."""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mnas.data.source import ImageSource
from mnas.errors import DataError, Error

_SOURCE_MEMBERS = ("__len__", *(name for name in vars(ImageSource) if not name.startswith("_")))
_CHECKED_IMAGES = 64


def check_own_sources(name: str, parts: Mapping[str, ImageSource]) -> None:
    """Check the parts of `SearchData` or `FullData`.

    Only the first evaluation batch of a part is looked at; `ImageArrays` check all of their labels themselves.

    Args:
        name: Names the data in messages.
        parts: The parts by name, the training images first.

    Raises:
        DataError: A part is no `ImageSource`; it has no images, fewer than 2 classes, or a batch whose form or labels
            are wrong; its code failed; or the parts differ in size, channels or classes.
    """
    for part_name, part in parts.items():
        _check_part(f"{name}: {part_name}", part)
    (first, train), *others = parts.items()
    for second, part in others:
        for what, one, other in (
            ("image size", train.image_size, part.image_size),
            ("number of channels", train.channels, part.channels),
            ("class names", train.class_names, part.class_names),
        ):
            if one != other:
                raise DataError(
                    f"{name}: {what} of {first}: {_shown(one)}, of {second}: {_shown(other)}; make them equal"
                )


@contextmanager
def users_code(name: str) -> Iterator[None]:
    """Turn whatever the user's code raises into a DataError that names the first line of theirs."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        # Not the frames of this package, which called it.
        here = Path(__file__).parent
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent != here]
        at = f" ({frames[0].filename}, line {frames[0].lineno})" if frames else ""
        raise DataError(
            f"{name}: {type(error).__name__}: {error}{at}; correct that code or what it is given"
        ) from error


def _check_part(name: str, source: ImageSource) -> None:
    if missing := [member for member in _SOURCE_MEMBERS if not hasattr(source, member)]:
        raise DataError(
            f"{name} is {type(source).__name__}, which is no ImageSource: it has no {', '.join(missing)}; return "
            "ImageArrays, or a class with every member of mnas.data.ImageSource"
        )
    if source.num_classes != len(source.class_names) or source.num_classes < 2:
        raise DataError(
            f"{name} has {source.num_classes} classes and {len(source.class_names)} class names; give at least 2 "
            "classes, and a name for each"
        )
    if len(source) == 0:
        raise DataError(f"{name} has no images; give at least one")
    _check_batch(name, source)


def _shown(value: int | tuple[str, ...]) -> str:
    return str(value) if isinstance(value, int) else ", ".join(value[:3]) + (", ..." if len(value) > 3 else "")


def _check_batch(name: str, source: ImageSource) -> None:
    with users_code(name):
        images, labels = next(iter(source.evaluation_batches(_CHECKED_IMAGES)))
    count = min(len(source), _CHECKED_IMAGES)
    shape = (count, source.channels, source.image_size, source.image_size)
    if images.shape != shape or images.dtype != np.float32:
        raise DataError(
            f"{name}: the first evaluation batch has images {images.dtype} {images.shape}; they must be float32 {shape}"
        )
    if labels.shape != (count,) or labels.dtype != np.int32:
        raise DataError(
            f"{name}: the first evaluation batch has labels {labels.dtype} {labels.shape}; they must be int32 "
            f"({count},)"
        )
    if labels.min() < 0 or labels.max() >= source.num_classes:
        raise DataError(
            f"{name}: has labels from {labels.min()} to {labels.max()}; with {source.num_classes} classes they "
            f"must be 0 to {source.num_classes - 1}"
        )
