"""Find every broken image below a folder: `python -m mnas.data.check DIRECTORY`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mnas.data.decoding import broken_files
from mnas.data.folder import TEST_FOLDERS, list_test, list_training
from mnas.documents.foreign_text import printable
from mnas.errors import DataError


def find_broken_images(directory: Path) -> list[DataError]:
    """Decode every image of `train`, `test` and `val`, and return the errors.

    Returns:
        The error of each image that cannot be read.

    Raises:
        DataError: The folders are not laid out as train/CLASS/IMAGE.
    """
    training = list_training(directory)
    folders = [name for name in TEST_FOLDERS if (directory / name).is_dir()]
    listings = [training, *(list_test(directory, name, training.class_names) for name in folders)]
    workers = os.cpu_count() or 1
    return [error for listing in listings for error in broken_files(listing, workers)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each broken image, and return 0 if there is none, else 1."""
    parser = argparse.ArgumentParser(description="Decode every image of DIRECTORY/train, test and val.")
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args(arguments).directory
    try:
        broken = find_broken_images(directory)
    except DataError as error:
        broken = [error]
    for broken_file in broken:
        print(printable(broken_file), file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
