"""What is left on a phone and what is tidied away, by the scripts themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from latency.android import installation
from latency.android.installation import _PREPARE, tidy
from tests.latency.android.local_device import local_device


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    local_device().shell(["sh", "-c", _PREPARE, "mnas", str(tmp_path / "mnas" / "runtime-own")], 20)
    return tmp_path / "mnas"


def left(folder: Path) -> list[str]:
    tidy(local_device(), str(folder), str(folder / "runtime-own"))
    return sorted(path.name for path in folder.iterdir())


def test_models_and_old_runtimes_of_killed_runs_are_removed(folder: Path) -> None:
    for name in ("model-1.onnx", "model-2.onnx.part"):
        (folder / name).touch()
    (folder / "runtime-old").mkdir()
    (folder / "runtime-old" / "libonnxruntime.so").touch()
    assert left(folder) == ["runtime-own"]


def test_what_is_not_ours_stays(folder: Path) -> None:
    for name in ("notes.txt", "model.onnx", "runtime-of-a-file", "lease", "lease.lock"):
        (folder / name).touch()
    assert len(left(folder)) == 6


@pytest.mark.parametrize(
    ("mark", "stays"),
    [
        ("{boot} {uptime}", True),
        ("{boot} {earlier}", False),
        ("another-boot {uptime}", False),
        ("{boot} soon", False),
        ("{boot} 08", False),
        ("{boot}", False),
        ("", False),
        ("$(touch pwned) `touch pwned`", False),
    ],
)
def test_a_runtime_that_another_session_has_used_lately_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mark: str, stays: bool
) -> None:
    monkeypatch.setattr(installation, "RUNTIME_KEPT_S", 60)
    uptime = int(float(Path("/proc/uptime").read_text().split()[0]))
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    other = folder / "runtime-other"
    other.mkdir()
    (other / "used").write_text(mark.format(boot=boot, uptime=uptime, earlier=uptime - 61) + "\n")
    assert left(folder) == [*(["runtime-other"] if stays else []), "runtime-own"]


def test_a_link_to_a_folder_of_the_users_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").touch()
    (folder / "runtime-link").symlink_to(tmp_path / "pictures")
    left(folder)
    assert (tmp_path / "pictures" / "1.jpg").exists()
