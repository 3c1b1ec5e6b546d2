import errno
import fcntl
import os
from pathlib import Path

import pytest

from mnas.export.scratch import NEW, OLD, put_in_place, scratch_folder


def left_by_a_kill(folder: Path, *names: str) -> Path:
    scratch = folder.with_name(f".{folder.name}-abcd_123")
    for name in names:
        (scratch / name).mkdir(parents=True)
        (scratch / name / "model.onnx").write_text(name)
    return scratch


def write_new(folder: Path) -> None:
    with scratch_folder(folder) as scratch:
        (scratch / NEW).mkdir()
        (scratch / NEW / "model.onnx").write_text("written")
        put_in_place(scratch, folder)


def test_an_export_leaves_the_folder_only(tmp_path: Path) -> None:
    for _ in range(2):
        write_new(tmp_path / "found")
    assert os.listdir(tmp_path) == ["found"]
    assert (tmp_path / "found" / "model.onnx").read_text() == "written"


def test_what_a_kill_has_left_is_removed(tmp_path: Path) -> None:
    left_by_a_kill(tmp_path / "found", NEW)
    write_new(tmp_path / "found")
    assert os.listdir(tmp_path) == ["found"]


def test_an_old_folder_that_a_kill_has_left_aside_comes_back(tmp_path: Path) -> None:
    left_by_a_kill(tmp_path / "found", NEW, OLD)
    with scratch_folder(tmp_path / "found"):
        assert (tmp_path / "found" / "model.onnx").read_text() == OLD


def test_the_scratch_folder_of_a_living_export_stays(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "found") as first, scratch_folder(tmp_path / "found"):
        assert first.is_dir()


@pytest.mark.parametrize("name", ["holiday.jpg", "new.txt"])
def test_a_folder_of_a_similar_name_stays(tmp_path: Path, name: str) -> None:
    scratch = left_by_a_kill(tmp_path / "found", NEW)
    (scratch / name).touch()
    write_new(tmp_path / "found")
    assert (scratch / name).exists()


def test_a_link_of_such_a_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / NEW).mkdir(parents=True)
    (tmp_path / ".found-abcd_123").symlink_to(victim)
    write_new(tmp_path / "found")
    assert (victim / NEW).is_dir()


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=r"its file system .* has no locks"), scratch_folder(tmp_path / "found"):
        pass
