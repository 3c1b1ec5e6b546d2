"""Image folders: which files there are, and of which class. Nothing is decoded here."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnas.documents.user_paths import path_text
from mnas.errors import DataError
from mnas.files import fingerprint_of

_LOG = logging.getLogger(__name__)

# What Pillow decodes; some builds of it lack AVIF.
_AVIF = () if find_spec("PIL._avif") is None else (".avif",)
IMAGE_SUFFIXES = (*_AVIF, ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
TRAIN_FOLDER = "train"
TEST_FOLDERS = ("test", "val")


@dataclass(frozen=True, eq=False)
class FileListing:
    """Labelled image files below one folder, sorted by class, then by file name.

    Attributes:
        directory: The folder.
        names: CLASS/FILE of each image, as file system bytes: one array of ImageNet's size takes 50 MB, and Ray shares
            it between processes like any array.
        labels: int32 (count,).
        class_names: Name of each class; the position is the label.
    """

    directory: Path
    names: npt.NDArray[np.bytes_]
    labels: npt.NDArray[np.int32]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.labels)

    def path(self, position: int) -> Path:
        """Return the path of one file."""
        return self.directory / os.fsdecode(self.names[position])

    def select(self, indices: npt.NDArray[np.int64]) -> "FileListing":
        """Return the files at these positions."""
        return replace(self, names=self.names[indices], labels=self.labels[indices])

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of names, sizes and labels of the files; their content is not read.

        Raises:
            DataError: A file has gone.
        """
        try:
            sizes = np.array([self.path(position).stat().st_size for position in range(len(self))], np.int64)
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be examined ({error.strerror}); restore the file") from error
        return fingerprint_of(b"\n".join(self.names.tolist()), sizes, self.labels, *self.class_names)


def list_training(directory: Path) -> FileListing:
    """List DIRECTORY/train; the test set is not looked at.

    Raises:
        DataError: The folder is missing or is not laid out as train/CLASS/IMAGE.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: no such folder; `directory` must hold train/CLASS/IMAGE files")
    if not (directory / TRAIN_FOLDER).is_dir():
        raise DataError(f"{directory}: has no `{TRAIN_FOLDER}` folder; the layout is DIRECTORY/train/CLASS/IMAGE")
    return _list_classes(directory / TRAIN_FOLDER)


def list_test(directory: Path, test_folder: str | None, class_names: tuple[str, ...] | None) -> FileListing:
    """List the test set: the named folder, else whichever of `test` and `val` exists.

    Args:
        directory: The folder that holds the test set.
        test_folder: Name of the folder in it; None for `test` or `val`.
        class_names: Those of the training data; None if they are not known.

    Raises:
        DataError: There is no such folder or there are both, the layout is wrong, or the classes are not those of the
            training data.
    """
    listing = _list_classes(find_test_folder(directory, test_folder))
    if class_names is None:
        return listing
    missing = sorted(set(class_names) - set(listing.class_names))
    unknown = sorted(set(listing.class_names) - set(class_names))
    if missing or unknown:
        differences = [f"missing {_some(missing)}"] if missing else []
        differences += [f"not in training {_some(unknown)}"] if unknown else []
        raise DataError(
            f"{listing.directory}: its classes differ from the training data's ({'; '.join(differences)}); "
            "both need the same class folders"
        )
    return listing


def find_test_folder(directory: Path, test_folder: str | None) -> Path:
    """Return the folder of the test set.

    Raises:
        DataError: There is none, or it is not clear which.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: no such folder; give the one that holds the test set")
    candidates = (test_folder,) if test_folder is not None else TEST_FOLDERS
    found = [directory / name for name in candidates if (directory / name).is_dir()]
    if not found:
        names = " or ".join(f"`{name}`" for name in candidates)
        raise DataError(f"{directory}: has no {names} folder; the test set must be there, as CLASS/IMAGE")
    if len(found) > 1:
        raise DataError(f"{directory}: has both a `test` and a `val` folder; say which to use with `test_folder`")
    return found[0]


def _list_classes(directory: Path) -> FileListing:
    """List CLASS/IMAGE below a folder. Hidden entries are left out; everything else that is left out is logged."""
    classes: list[str] = []
    left_out: Counter[str] = Counter()
    for entry in _entries(directory):
        if entry.is_dir():
            if path_text(entry.name) != entry.name:
                raise DataError(f"{entry.path}: the name of a class must be UTF-8 text; rename the folder")
            classes.append(entry.name)
        elif _is_broken_link(entry):
            left_out[_kind(entry)] += 1
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            raise DataError(
                f"{directory}: holds images directly ({entry.name}); put each image into the folder of its class"
            )
    if len(classes) < 2:
        raise DataError(
            f"{directory}: has {len(classes)} class folders, a classifier needs at least 2; "
            "the layout is one folder per class with its images in it"
        )
    names: list[bytes] = []
    sizes: list[int] = []
    for class_name in classes:
        entries = list(_entries(directory / class_name))
        images = [entry for entry in entries if entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file()]
        used = {entry.name for entry in images}
        left_out.update(_kind(entry) for entry in entries if entry.name not in used)
        if not images:
            raise DataError(_no_images(directory / class_name))
        names += [os.fsencode(f"{class_name}/{entry.name}") for entry in images]
        sizes.append(len(images))
    if left_out:
        _LOG.warning(
            "%s: %d entries of its class folders are not used (%s); mnas reads %s files directly in a class folder",
            directory,
            left_out.total(),
            _counts(left_out),
            " ".join(IMAGE_SUFFIXES),
        )
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), sizes)
    return FileListing(directory, np.array(names, np.bytes_), labels, tuple(classes))


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    """Return the visible entries, by name."""
    try:
        with os.scandir(directory) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{directory}: cannot be listed ({error.strerror}); check its permissions") from error
    return iter(sorted(visible, key=lambda entry: entry.name))


def _no_images(class_directory: Path) -> str:
    suffixes = ", ".join(IMAGE_SUFFIXES)
    subfolders = [entry.name for entry in _entries(class_directory) if entry.is_dir()]
    if subfolders:
        return f"{class_directory}: has folders ({_some(subfolders)}) but no images; move its images up into it"
    left_out = Counter(_kind(entry) for entry in _entries(class_directory))
    found = f" but {_counts(left_out)}" if left_out else ""
    return f"{class_directory}: has no images ({suffixes}){found}; add some or remove the folder"


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def _kind(entry: os.DirEntry[str]) -> str:
    if _is_broken_link(entry):
        return "broken links"
    if entry.is_dir():
        return "folders"
    return f"{Path(entry.name).suffix.lower() or 'without a suffix'} files"


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items()))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
