import errno
import fcntl
import os
from pathlib import Path

import pytest

from mnas import files
from mnas.files import RunDirectoryError, exchange_folders, locked_directory, open_for_append, write_atomically


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


@pytest.mark.parametrize("link", ["best.yaml", ".best.yaml.partial", ".best.yaml.0123456789abcdef.partial"])
def test_writing_follows_no_link(run: Path, victim: Path, link: str) -> None:
    (run / link).symlink_to(victim)
    write_atomically(run / "best.yaml", b"new")
    assert (victim.read_text(), (run / "best.yaml").read_bytes()) == ("precious", b"new")


def test_drafts_of_a_killed_process_are_removed(run: Path) -> None:
    for name in (".best.yaml.partial", ".best.yaml.0123456789abcdef.partial", ".other.partial"):
        (run / name).touch()
    write_atomically(run / "best.yaml", b"new")
    assert sorted(os.listdir(run)) == [".other.partial", "best.yaml"]


def test_appending_follows_no_link(run: Path, victim: Path) -> None:
    (run / "ray.log").symlink_to(victim)
    with pytest.raises(RunDirectoryError, match="symbolic link"):
        open_for_append(run / "ray.log")
    assert victim.read_text() == "precious"


def test_a_folder_is_not_appended_to(run: Path) -> None:
    with pytest.raises(RunDirectoryError, match="cannot be appended to"):
        open_for_append(run)


def test_a_pipe_is_not_appended_to(run: Path) -> None:
    os.mkfifo(run / "ray.log")
    with pytest.raises(RunDirectoryError):
        open_for_append(run / "ray.log")


def test_what_is_appended_follows_what_was_there(run: Path) -> None:
    for line in ("one\n", "two\n"):
        with open_for_append(run / "ray.log") as file:
            file.write(line)
    assert (run / "ray.log").read_text() == "one\ntwo\n"


def test_a_lock_that_is_a_link_is_refused(run: Path, victim: Path) -> None:
    (run / "lock").symlink_to(victim)
    with pytest.raises(RunDirectoryError, match="symbolic link"), locked_directory(run, "mnas search"):
        pass


@pytest.mark.parametrize(("atomic", "place"), [(True, "new"), (False, "aside")])
def test_folders_are_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool, place: str) -> None:
    if not atomic:
        monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    exchange_folders(tmp_path / "new", tmp_path / "old", tmp_path / "aside")
    assert sorted(os.listdir(tmp_path)) == sorted(["old", place])
    assert (os.listdir(tmp_path / "old"), os.listdir(tmp_path / place)) == (["new"], ["old"])


def test_a_file_system_without_locks_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(RunDirectoryError, match=r"file system \(\S+ at .*\) has no locks .*--run-dir"),
        locked_directory(run, "mnas search"),
    ):
        pass
