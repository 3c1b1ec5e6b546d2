"""A folder of the user's own that hides one of our packages."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mnas

HOME = Path(mnas.__file__).parent.parent


def import_mnas(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Import mnas with a folder in front of the path, as that of a script or of `python -m` is."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(folder)!r}, {str(HOME)!r}]; import mnas"],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("package", ["controllers", "latency", "search_space"])
def test_a_package_that_hides_ours_is_named(tmp_path: Path, package: str) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    said = import_mnas(tmp_path).stderr
    assert f"ImportError: {tmp_path / package} hides the package {package!r} of mnas ({HOME / package})" in said


def test_a_module_that_hides_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "latency.py").touch()
    assert f"ImportError: {tmp_path / 'latency.py'} hides the package 'latency'" in import_mnas(tmp_path).stderr


def test_a_folder_that_is_no_package_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "controllers").mkdir()
    assert import_mnas(tmp_path).returncode == 0


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "mnas").mkdir()
    for name in ("__init__.py", "hidden_packages.py"):
        shutil.copy(HOME / "mnas" / name, tmp_path / "mnas")
    # Without site-packages, where mnas may be installed as a whole.
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import mnas"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert "mnas needs its package 'search_space'" in done.stderr
