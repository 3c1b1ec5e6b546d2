from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from latency.downloads import DebianPackage, Wheel, debian_packages, read_debian_packages, unpack_debian_package, wheel
from latency.errors import ToolError

CONTENT = b"the content of a package"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PACKAGE = DebianPackage("pool/main/n/none/none_1.0_all.deb", SHA256)
SMALL_PACKAGE = DebianPackage(
    "pool/main/g/gcc-14-cross/libgcc-s1-arm64-cross_14.2.0-19cross1_all.deb",
    "272751f04dc1669c6368005ccea3496b28626c720c64c98980f705350f4c6b6b",
)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MNAS_DOWNLOADS", raising=False)
    return tmp_path / "cache" / "mnas" / "downloads"


@pytest.fixture
def no_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without apt and dpkg, and a pip that has no index."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def test_a_package_is_fetched_through_apt_and_kept(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        fetched = debian_packages([SMALL_PACKAGE])
    except ToolError as error:
        pytest.skip(f"needs a Debian mirror: {error}")
    monkeypatch.setenv("PATH", "")
    assert fetched == [empty_cache / SMALL_PACKAGE.file_name] == debian_packages([SMALL_PACKAGE])
    assert [path.name for path in empty_cache.iterdir()] == [SMALL_PACKAGE.file_name]


def test_several_may_fetch_the_same_package_at_once(empty_cache: Path) -> None:
    try:
        with ThreadPoolExecutor(4) as pool:
            fetched = list(pool.map(debian_packages, [[SMALL_PACKAGE]] * 4))
    except ToolError as error:
        pytest.skip(f"needs a Debian mirror: {error}")
    assert fetched == [[empty_cache / SMALL_PACKAGE.file_name]] * 4
    assert [path.name for path in empty_cache.iterdir()] == [SMALL_PACKAGE.file_name]


@pytest.mark.usefixtures("no_clients")
def test_a_file_fetched_by_hand_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNAS_DOWNLOADS", str(tmp_path))
    (tmp_path / "none_1.0_all.deb").write_bytes(CONTENT)
    assert debian_packages([PACKAGE]) == [tmp_path / "none_1.0_all.deb"]


@pytest.mark.usefixtures("no_clients")
def test_a_wrong_file_fetched_by_hand_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNAS_DOWNLOADS", str(tmp_path))
    (tmp_path / "none_1.0_all.deb").write_bytes(b"something else")
    with pytest.raises(ToolError, match=f"not the pinned {SHA256}") as caught:
        debian_packages([PACKAGE])
    assert caught.value.kind == "runtime_unavailable"


@pytest.mark.usefixtures("no_clients")
def test_a_damaged_file_in_the_cache_is_not_used(empty_cache: Path) -> None:
    empty_cache.mkdir(parents=True)
    (empty_cache / "none_1.0_all.deb").write_bytes(CONTENT[:-1])
    with pytest.raises(ToolError, match="cannot list apt's sources"):
        debian_packages([PACKAGE])


@pytest.mark.usefixtures("no_clients")
def test_without_apt_the_message_says_what_to_fetch_by_hand_and_where_to_put_it() -> None:
    with pytest.raises(ToolError) as caught:
        debian_packages([PACKAGE])
    assert caught.value.kind == "runtime_unavailable"
    for part in ("no apt-get", "pool/main/n/none/none_1.0_all.deb", SHA256, "MNAS_DOWNLOADS"):
        assert part in str(caught.value)


@pytest.mark.usefixtures("no_clients")
def test_without_an_index_the_message_names_the_wheel() -> None:
    pin = Wheel("onnxruntime", "1.32.0", "cp311", "manylinux_2_28_aarch64", SHA256)
    with pytest.raises(ToolError) as caught:
        wheel(pin)
    assert "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_aarch64.whl" in str(caught.value)
    assert "MNAS_DOWNLOADS" in str(caught.value)


@pytest.mark.usefixtures("no_clients")
def test_a_failed_fetch_leaves_nothing_in_the_cache(empty_cache: Path) -> None:
    with pytest.raises(ToolError):
        debian_packages([PACKAGE])
    assert list(empty_cache.iterdir()) == []


def test_a_file_that_is_no_package_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "none_1.0_all.deb").write_bytes(CONTENT)
    with pytest.raises(ToolError, match=r"cannot unpack none_1\.0_all\.deb"):
        unpack_debian_package(tmp_path / "none_1.0_all.deb", tmp_path / "unpacked")


ROOT = Path(__file__).parents[2]
PINS = [
    "latency/loopback/adbd_packages.yaml",
    "tests/latency/adb/adb_packages.yaml",
    "tests/latency/qemu_packages.yaml",
]


@pytest.mark.parametrize("pins", PINS)
def test_the_pins_can_be_read(pins: str) -> None:
    packages = read_debian_packages(ROOT / pins)
    assert len({package.file_name for package in packages}) == len(packages) > 0
