"""Reading what CANN, the driver and the probe's process say."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnas.machine.ascend import DeviceMemory, probe, read_probe, version_in
from mnas.machine.probe import devices, import_error


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Version=25.2.0\nascendhal_version=7.35.23\n", "25.2.0"),
        ("Version=8.5.0.1.220\nversion_dir=8.5.0\n", "8.5.0.1.220"),
        ("# file\nversion = [9.1.0]\n", "9.1.0"),
        ("Version=24.1.rc3\n", "24.1.rc3"),
        ("no number here", None),
    ],
)
def test_the_version_of_a_file(tmp_path: Path, text: str, version: str | None) -> None:
    (tmp_path / "version.info").write_text(text)
    assert version_in(tmp_path / "version.info") == version


def test_no_file_has_no_version(tmp_path: Path) -> None:
    assert version_in(tmp_path / "version.info") is None


def fake_acl(*memory: tuple[int, int], code: int = 0) -> Any:
    current: list[int] = []

    def set_device(device: int) -> int:
        current.append(device)
        return 0

    runtime = SimpleNamespace(
        get_device_count=lambda: (len(memory), code),
        set_device=set_device,
        get_mem_info=lambda attribute: (*memory[current[-1]], 0),
        reset_device=lambda device: 0,
    )
    return SimpleNamespace(init=lambda: 0, finalize=lambda: 0, rt=runtime)


def test_each_device_has_its_own_memory() -> None:
    found = devices(fake_acl((30, 64), (10, 32)))
    assert found == [{"free_bytes": 30, "total_bytes": 64}, {"free_bytes": 10, "total_bytes": 32}]


def test_an_error_code_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="get_device_count returned 107002"):
        devices(fake_acl(code=107002))


def test_a_module_that_cannot_be_imported_says_why() -> None:
    assert import_error("json") is None
    assert "No module named 'no_such_module'" in str(import_error("no_such_module"))


def test_a_line_of_the_probe_is_read() -> None:
    read = read_probe(
        '{"imports": {"acl": null}, "devices": [{"free_bytes": 5000000000, "total_bytes": 9000000000}],'
        ' "device_error": null}'
    )
    assert (read.import_errors, read.devices, read.device_error) == ({"acl": None}, (DeviceMemory(5.0, 9.0),), None)


def test_the_process_answers_without_cann() -> None:
    found = probe(("json", "no_such_module"))
    assert found.import_errors["json"] is None
    assert found.devices == ()
