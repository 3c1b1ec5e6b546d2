"""Where a host has the images of a search, by the variable in its environment."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mnas.data import DigitsSettings, ImageFolderSettings, SearchData, StreamedImages
from mnas.data.node_paths import VARIABLE, on_this_host, path_on_this_host, read_files
from mnas.errors import ConfigurationError


@pytest.fixture
def directory(tmp_path: Path, make_folder: Callable[..., Path]) -> Path:
    return make_folder(tmp_path / "data")


@pytest.fixture
def streamed(directory: Path) -> SearchData:
    settings = ImageFolderSettings(
        directory=str(directory), image_size=16, augment="none", storage="stream", reward_images=3
    )
    return settings.load_search()


def test_images_in_memory_need_no_files() -> None:
    assert read_files(DigitsSettings(image_size=16, reward_images=100).load_search()) == []


def test_streamed_images_need_their_folder_and_files(streamed: SearchData, directory: Path) -> None:
    folder, *files = read_files(streamed)
    assert folder == directory / "train"
    assert files
    assert all(file.is_file() for file in files)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ("", "/data/set/train"),
        ("/data=/mnt/data", "/mnt/data/set/train"),
        ("/other=/mnt:/data/set=/scratch", "/scratch/train"),
        ("/data/set=/scratch:/data=/mnt", "/scratch/train"),
        ("/data/s=/scratch", "/data/set/train"),
    ],
)
def test_the_longest_folder_that_holds_a_path_decides(
    monkeypatch: pytest.MonkeyPatch, paths: str, expected: str
) -> None:
    monkeypatch.setenv(VARIABLE, paths)
    assert path_on_this_host(Path("/data/set/train")) == Path(expected)


@pytest.mark.parametrize("paths", ["/data", "data=/mnt", "/data=mnt", "/data="])
def test_what_is_no_pair_of_absolute_paths_is_refused(monkeypatch: pytest.MonkeyPatch, paths: str) -> None:
    monkeypatch.setenv(VARIABLE, paths)
    with pytest.raises(ConfigurationError, match=rf"{VARIABLE}: {paths}: write FROM=TO"):
        path_on_this_host(Path("/data/set"))


def test_a_worker_reads_the_same_images_from_its_own_path(
    streamed: SearchData, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = streamed.fingerprint()
    moved = directory.with_name("elsewhere")
    directory.rename(moved)
    monkeypatch.setenv(VARIABLE, f"{directory}={moved}")
    here = on_this_host(streamed)
    assert here.fingerprint() == before
    assert isinstance(here.train, StreamedImages)
    assert isinstance(streamed.train, StreamedImages)
    assert np.shares_memory(here.train.listing.names, streamed.train.listing.names)
