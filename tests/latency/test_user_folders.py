from collections.abc import Callable
from pathlib import Path

import pytest

from latency.user_folders import cache_folder, profile_folder, state_folder

FOLDERS = [
    (cache_folder, "XDG_CACHE_HOME", ".cache/mnas", "mnas"),
    (profile_folder, "XDG_CONFIG_HOME", ".config/mnas/phones", "mnas/phones"),
    (state_folder, "XDG_STATE_HOME", ".local/state/mnas", "mnas"),
]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "MNAS_PHONES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("folder", "variable", "by_default", "moved"), FOLDERS)
def test_folders_are_in_the_home_folder_by_default(
    folder: Callable[[], Path], variable: str, by_default: str, moved: str, tmp_path: Path
) -> None:
    assert folder() == tmp_path / by_default


@pytest.mark.parametrize(("folder", "variable", "by_default", "moved"), FOLDERS)
def test_variables_of_the_desktop_standard_move_them(
    folder: Callable[[], Path],
    variable: str,
    by_default: str,
    moved: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    assert folder() == tmp_path / "elsewhere" / moved


def test_profiles_can_be_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNAS_PHONES", str(tmp_path / "phones"))
    assert profile_folder() == tmp_path / "phones"
