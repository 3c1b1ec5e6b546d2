"""Where a host of a cluster has the images of a search, if not at the path where the search has listed them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mnas.data.folder import FileListing
from mnas.data.source import ImageSource, SearchData
from mnas.data.streaming import StreamedImages
from mnas.errors import ConfigurationError

VARIABLE = "MNAS_DATA_PATHS"
"""FROM=TO of folders, separated by colons, in the environment of `ray start`.

FROM is a path of the search, TO the path of the same folder on this host.
"""


def read_files(data: SearchData) -> list[Path]:
    """Return the folders that children read while they train, and the first and the last file of each.

    Images in memory reach a worker through Ray's object store. What a source of the user's own reads is not known.
    """
    listings = dict.fromkeys(listing for source in (data.train, data.reward) for listing in _listings(source))
    files = [path for each in listings for path in (each.directory, each.path(0), each.path(len(each) - 1))]
    return list(dict.fromkeys(files))


def on_this_host(data: SearchData) -> SearchData:
    """Return the same images as this host has them; see `VARIABLE`.

    Raises:
        ConfigurationError: The variable is not as it should be.
    """
    return SearchData(_moved(data.train), _moved(data.reward))


def path_on_this_host(path: Path) -> Path:
    """Return where this host has a file or folder; the longest FROM that holds it decides.

    Raises:
        ConfigurationError: The variable is not as it should be.
    """
    holding = [(start, end) for start, end in _pairs() if path.is_relative_to(start)]
    if not holding:
        return path
    start, end = max(holding, key=lambda pair: len(pair[0].parts))
    return end / path.relative_to(start)


def _pairs() -> Iterator[tuple[Path, Path]]:
    for pair in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        start, _, end = pair.partition("=")
        if not (os.path.isabs(start) and os.path.isabs(end)):
            raise ConfigurationError(
                f"{VARIABLE}: {pair}: write FROM=TO with two absolute paths, and a colon between pairs"
            )
        yield Path(start), Path(end)


def _listings(source: ImageSource) -> list[FileListing]:
    return [source.listing] if isinstance(source, StreamedImages) and len(source) else []


def _moved(source: ImageSource) -> ImageSource:
    if not isinstance(source, StreamedImages):
        return source
    directory = path_on_this_host(source.listing.directory)
    return replace(source, listing=replace(source.listing, directory=directory))
