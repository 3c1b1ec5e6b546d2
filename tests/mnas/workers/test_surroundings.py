"""What a Ray of our own needs of a machine: each thing is taken away in turn."""

import os
import resource
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from mnas.errors import ClusterError, ConfigurationError
from mnas.workers.surroundings import (
    MAX_FOLDER_BYTES,
    check_open_files,
    folder_problem,
    has_token,
    provide_token,
    session_folder,
)

SHORT = Path("/tmp")
Usage = namedtuple("Usage", "total used free")


def test_a_short_folder_that_can_be_written_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnas.workers.surroundings.folder_problem", lambda folder: None)
    with session_folder() as folder:
        assert folder is None


def test_the_sockets_of_ray_fit_below_the_longest_folder() -> None:
    socket = "/session_2026-11-25_07-56-35_123456_4194304/sockets/plasma_store.1"
    assert MAX_FOLDER_BYTES + len(socket) == 107


def test_a_long_folder_is_replaced_by_a_short_one_that_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "long/" * 10)
    with session_folder() as folder:
        assert folder is not None
        assert len(os.fsencode(folder)) <= MAX_FOLDER_BYTES
        own = folder.parent
        assert own.stat().st_mode & 0o777 == 0o700
    assert not own.exists()


def test_the_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnas.workers.surroundings.MAX_FOLDER_BYTES", 4096)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write everywhere
    assert folder_problem(tmp_path / "ray") == f"{tmp_path} cannot be written"


def test_the_files_of_another_user_in_a_shared_folder_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnas.workers.surroundings.MAX_FOLDER_BYTES", 4096)
    file = tmp_path / "ray_current_cluster"
    file.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != file)
    assert folder_problem(tmp_path) == f"{file} is another user's"


def test_a_full_disk_without_another_place_is_one_line_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnas.workers.surroundings.MAX_FOLDER_BYTES", 4096)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 0))
    with pytest.raises(ClusterError, match=r"0 MB of free space.*set RAY_TMPDIR"), session_folder([tmp_path]):
        pass


def test_too_few_open_files_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (30, 30))
    with pytest.raises(ClusterError, match=r"30 files.*ulimit -n"):
        check_open_files()


@pytest.fixture
def no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return tmp_path


def test_a_token_is_made_without_a_home_folder(no_token: Path) -> None:
    no_token.rmdir()
    assert not has_token()
    provide_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_the_users_token_is_used(no_token: Path) -> None:
    (no_token / ".ray").mkdir()
    (no_token / ".ray" / "auth_token").write_text("secret")
    provide_token()
    assert os.environ["RAY_AUTH_TOKEN"] == ""


def test_a_token_file_that_is_missing_is_named(no_token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(no_token / "none"))
    with pytest.raises(ConfigurationError, match="RAY_AUTH_TOKEN_PATH"):
        has_token()
