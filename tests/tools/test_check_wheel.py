import zipfile
from pathlib import Path

import pytest

from tools.check_wheel import IMPORT_NAMES, CheckError, check_files

GOOD = (*(f"{name}/__init__.py" for name in IMPORT_NAMES), "mnas/bundled/quickstart.yaml", "mnas-1.dist-info/RECORD")


def wheel(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "")
    return path


def test_a_wheel_as_it_should_be_passes(tmp_path: Path) -> None:
    check_files(wheel(tmp_path / "a.whl", *GOOD), wheel(tmp_path / "b.whl", *GOOD))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((*GOOD, "experiments/__init__.py"), "installs controllers, experiments, latency"),
        ((*GOOD, "mnas/bundled/loopback.py"), "YAML files and its __init__.py only; it holds mnas/bundled/loopback.py"),
        (tuple(name for name in GOOD if "bundled" not in name), "it holds nothing"),
    ],
)
def test_what_a_wheel_should_not_hold_is_named(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(CheckError, match=said):
        check_files(wheel(tmp_path / "a.whl", *names), wheel(tmp_path / "b.whl", *names))


def test_a_file_that_the_sdist_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match=r"checkout and sdist differ in mnas/bundled/quickstart\.yaml"):
        check_files(
            wheel(tmp_path / "a.whl", *GOOD),
            wheel(tmp_path / "b.whl", *(name for name in GOOD if "bundled" not in name)),
        )
