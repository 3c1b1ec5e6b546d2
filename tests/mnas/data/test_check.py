from collections.abc import Callable
from pathlib import Path

import pytest

from mnas.data.check import find_broken_images, main

MakeFolder = Callable[..., Path]


@pytest.fixture
def directory(tmp_path: Path, make_folder: MakeFolder) -> Path:
    return make_folder(tmp_path)


def test_whole_images_pass(directory: Path) -> None:
    assert main([str(directory)]) == 0


def test_broken_images_of_training_and_test_are_printed(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train/bee/1.png", "test/ant/0.png"):
        (directory / name).write_bytes(b"broken")
    assert main([str(directory)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        str(directory / "train/bee/1.png"),
        str(directory / "test/ant/0.png"),
    ]


def test_training_alone_can_be_checked(tmp_path: Path, make_folder: MakeFolder) -> None:
    assert find_broken_images(make_folder(tmp_path, parts=("train",))) == []


def test_a_wrong_layout_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "has no `train` folder" in capsys.readouterr().err
