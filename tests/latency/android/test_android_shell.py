"""The scripts that run on phones, under Android's shell (mksh) and tools (toybox) instead of GNU's."""

from __future__ import annotations

import platform
import signal
import subprocess
from pathlib import Path

import pytest

from latency.adb import AdbDevice
from latency.android.exit_status import signal_of
from latency.android.inspection import inspect
from latency.android.installation import _PREPARE, MARK_USED, tidy
from latency.downloads import debian_packages, read_debian_packages, unpack_debian_package
from latency.errors import ToolError
from tests.latency.android.local_device import local_device

PACKAGES = Path(__file__).with_name("android_shell_packages.yaml")

SHELL = "usr/lib/x86_64-linux-musl/bin/mksh"


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `sh` and toybox's tools, and nothing else."""
    if platform.machine() != "x86_64":
        pytest.skip("the pinned packages are for x86_64")
    root = tmp_path_factory.mktemp("android-shell")
    try:
        for package in debian_packages(read_debian_packages(PACKAGES)):
            unpack_debian_package(package, root)
    except ToolError as error:
        pytest.skip(f"needs Debian's mksh and toybox: {error}")
    folder = root / "tools"
    folder.mkdir()
    toybox = root / "bin" / "toybox"
    for name in subprocess.run([toybox], capture_output=True, text=True, check=True).stdout.split():
        (folder / name).symlink_to(toybox)
    (folder / "sh").unlink(missing_ok=True)
    (folder / "sh").symlink_to(root / SHELL)
    return folder


@pytest.fixture
def device(tools: Path, monkeypatch: pytest.MonkeyPatch) -> AdbDevice:
    """A device whose commands run as on a phone: through `timeout`."""
    monkeypatch.setenv("PATH", str(tools))
    plain = local_device()
    return local_device(
        lambda argv: None if argv[0] == "timeout" else plain.shell(["timeout", "-s", "KILL", "20", *argv], 30)
    )


def test_the_questions_are_answered(device: AdbDevice, tmp_path: Path) -> None:
    facts = inspect(device, str(tmp_path / "mnas"))
    assert (facts.abi, facts.missing_tools) == ("x86_64", ())
    assert (facts.folder_writable, facts.folder_runnable) == (True, True)
    assert facts.free_mb is not None
    assert facts.is_this_machine
    assert list((tmp_path / "mnas").iterdir()) == []


def test_what_is_left_is_tidied(device: AdbDevice, tmp_path: Path) -> None:
    for name in ("runtime-own", "runtime-other"):
        assert not device.shell(["sh", "-c", _PREPARE, "mnas", str(tmp_path / name)], 20).failed
    (tmp_path / "runtime-old").mkdir()
    (tmp_path / "runtime-old" / "used").write_text("another-boot 08\n")
    (tmp_path / "model-1.onnx").touch()
    tidy(device, str(tmp_path), str(tmp_path / "runtime-own"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runtime-other", "runtime-own"]


def test_a_use_is_marked(device: AdbDevice, tmp_path: Path) -> None:
    marked = device.shell(["sh", "-c", MARK_USED, "mnas", str(tmp_path)], 20)
    assert (marked.failed, marked.stdout, marked.stderr) == (False, "", "")
    boot, seconds = (tmp_path / "used").read_text().split()
    assert (len(boot), seconds.isdigit()) == (36, True)


def test_a_signal_is_told_by_its_status(device: AdbDevice) -> None:
    # What ends at once loses its status with this toybox (see `ShellResult.failed`).
    crashed = device.shell(["sh", "-c", "sleep 0.2; kill -SEGV $$"], 20)
    assert signal_of(device, crashed.status) == signal.SIGSEGV
