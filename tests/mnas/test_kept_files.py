import os
from pathlib import Path

import pytest

from mnas.cli import main
from mnas.errors import ConfigurationError
from mnas.kept_files import Kept, delete, kept_files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of a user who has used mnas: downloads, a profile, and two sessions of Ray, one of this process."""
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "RAY_TMPDIR", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("MNAS_PHONES", raising=False)
    (tmp_path / "mnas" / "downloads").mkdir(parents=True)
    (tmp_path / "mnas" / "downloads" / "package.deb").write_bytes(bytes(100))
    (tmp_path / "mnas" / "phones").mkdir()
    (tmp_path / "mnas" / "phones" / "pixel6.yaml").touch()
    (tmp_path / "ray" / f"session_2026-01-01_00-00-00_000000_{os.getpid()}").mkdir(parents=True)
    (tmp_path / "ray" / "session_2026-01-01_00-00-00_000000_0999999999").mkdir()
    return tmp_path


def entry(name: str) -> Kept:
    return next(kept for kept in kept_files() if kept.name == name)


def test_sizes_are_summed(home: Path) -> None:
    assert entry("downloads").size_bytes == 100


def test_what_is_not_there_has_no_path(home: Path) -> None:
    assert entry("runtimes").paths == ()


def test_a_latency_cache_of_another_place_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNAS_LATENCY_CACHE", str(home / "other.sqlite3"))
    (home / "other.sqlite3").write_bytes(bytes(7))
    assert entry("latency-cache").size_bytes == 7


def test_a_session_of_a_running_process_is_kept(home: Path) -> None:
    assert [path.name[-10:] for path in entry("ray-sessions").paths] == ["0999999999"]


def test_what_is_deleted_is_gone_and_the_rest_is_there(home: Path) -> None:
    delete([entry("downloads")])
    assert not (home / "mnas" / "downloads").exists()
    assert (home / "mnas" / "phones" / "pixel6.yaml").exists()


def test_a_profile_is_not_deleted(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="mnas phones remove"):
        delete([entry("profiles")])


def test_the_command_lists_and_deletes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean"]) == 0
    assert "downloads" in capsys.readouterr().out
    assert (home / "mnas" / "downloads").exists()


def test_the_command_deletes_nothing_unasked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", "--downloads"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert (home / "mnas" / "downloads").exists()


def test_the_command_deletes_all_that_has_an_option(home: Path) -> None:
    assert main(["clean", "--all", "--yes"]) == 0
    assert [kept.name for kept in kept_files() if kept.paths] == ["ray-sessions", "profiles"][1:]


def test_every_deletable_kind_has_an_option() -> None:
    from mnas.cli.clean import _KINDS

    assert tuple(kept.name for kept in kept_files() if kept.deletable) == _KINDS
