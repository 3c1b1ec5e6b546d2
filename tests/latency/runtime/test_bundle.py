from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest

from latency.downloads import file_sha256
from latency.errors import ToolError
from latency.runtime import RuntimeBundle, prepare_android_bundle, prepare_bundle
from latency.runtime import bundle as bundle_module
from latency.user_folders import cache_folder

ABIS = ["arm64-v8a", "x86_64"]
CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"


def prepared(abi: str) -> RuntimeBundle:
    try:
        return prepare_bundle(abi)
    except ToolError as error:
        pytest.skip(f"needs the runtime for {abi}: {error}")


@pytest.fixture
def second_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache instead of the user's, with the user's downloads."""
    prepared("x86_64")
    monkeypatch.setenv("MNAS_DOWNLOADS", str(cache_folder() / "downloads"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("abi", ABIS)
def test_every_file_is_there_and_has_its_hash(abi: str) -> None:
    bundle = prepared(abi)
    assert {file.name: file_sha256(file.path) for file in bundle.files} == {
        file.name: file.sha256 for file in bundle.files
    }


@pytest.mark.parametrize("abi", ABIS)
def test_only_the_runner_and_the_loader_are_executable(abi: str) -> None:
    bundle = prepared(abi)
    assert {file.name for file in bundle.files if file.executable} == {"mnas_runner", bundle.loader}


def test_the_command_starts_the_runner_through_the_bundles_own_loader() -> None:
    command = prepared("arm64-v8a").command(["--cpu", "7", "model.onnx"])
    assert " ".join(command) == (
        "./ld-linux-aarch64.so.1 --library-path . ./mnas_runner --lib ./libonnxruntime.so --cpu 7 model.onnx"
    )


def test_the_digest_tells_runtimes_apart() -> None:
    assert len({prepared(abi).digest for abi in ABIS}) == len(ABIS)


def test_preparing_again_gives_the_same_and_touches_no_file(second_cache: Path) -> None:
    first = prepare_bundle("x86_64")
    before = {file.name: file.path.stat().st_mtime_ns for file in first.files}
    second = prepare_bundle("x86_64")
    assert second == first
    assert {file.name: file.path.stat().st_mtime_ns for file in second.files} == before


def test_a_damaged_file_is_replaced(second_cache: Path) -> None:
    library = prepare_bundle("x86_64").folder / "libm.so.6"
    library.write_bytes(b"damaged")
    prepare_bundle("x86_64")
    assert library.read_bytes() != b"damaged"


def test_a_package_that_is_not_the_pinned_one_is_refused(second_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand = second_cache / "by hand"
    by_hand.mkdir()
    (by_hand / "libc6-amd64-cross_2.41-11cross1_all.deb").write_bytes(b"another package")
    monkeypatch.setenv("MNAS_DOWNLOADS", str(by_hand))
    with pytest.raises(ToolError, match=r"libc6-amd64-cross.*not the pinned") as caught:
        prepare_bundle("x86_64")
    assert caught.value.kind == "runtime_unavailable"


def test_an_unknown_abi_is_refused_with_those_there_are() -> None:
    with pytest.raises(ToolError, match=re.escape("'armeabi-v7a'; there is one for ['arm64-v8a', 'x86_64']")):
        prepare_bundle("armeabi-v7a")


@pytest.mark.parametrize("abi", ABIS)
def test_the_phones_engine_has_the_version_that_the_host_is_pinned_to(abi: str) -> None:
    pins = {line.partition(";")[0].strip() for line in CONSTRAINTS.read_text().splitlines()}
    assert f"onnxruntime=={prepared(abi).engine_version}" in pins


@pytest.fixture
def aar(tmp_path: Path) -> Path:
    """An archive as the official one is laid out; the library in it only says its version."""
    path = tmp_path / "onnxruntime-android-1.30.0.aar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("jni/arm64-v8a/libonnxruntime.so", b"\x7fELF...\0VERS_1.30.0\0...")
        archive.writestr("jni/arm64-v8a/libonnxruntime4j_jni.so", b"\x7fELF")
    return path


def test_the_android_archive_gives_a_bundle_for_the_phones_own_libraries(second_cache: Path, aar: Path) -> None:
    bundle = prepare_bundle("arm64-v8a", aar)
    assert [file.name for file in bundle.files] == ["libonnxruntime.so", "mnas_runner"]
    assert bundle.engine_version == "1.30.0"
    assert bundle.command(["--cpu", "7"]) == ["./mnas_runner", "--lib", "./libonnxruntime.so", "--cpu", "7"]
    assert b"/system/bin/linker64" in (bundle.folder / "mnas_runner").read_bytes()


def test_an_archive_without_the_abi_is_refused(aar: Path) -> None:
    with pytest.raises(ToolError, match=r"no AAR of ONNX Runtime for x86_64.*jni/x86_64/libonnxruntime\.so"):
        prepare_bundle("x86_64", aar)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.aar").write_bytes(b"something else")
    with pytest.raises(ToolError, match="is no AAR of ONNX Runtime"):
        prepare_bundle("arm64-v8a", tmp_path / "some.aar")


def test_a_library_that_would_fill_the_memory_is_refused(aar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "_MAX_LIBRARY_BYTES", 10)
    with pytest.raises(ToolError, match="at most 10 are read"):
        prepare_bundle("arm64-v8a", aar)


def test_a_damaged_archive_is_refused(aar: Path) -> None:
    content = bytearray(aar.read_bytes())
    content[content.index(b"ELF")] ^= 1
    aar.write_bytes(content)
    with pytest.raises(ToolError, match=r"is no AAR of ONNX Runtime.*CRC"):
        prepare_bundle("arm64-v8a", aar)


@pytest.fixture
def official(aar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive above in place of the pinned one, fetched by hand."""
    library = zipfile.ZipFile(aar).read("jni/arm64-v8a/libonnxruntime.so")
    archive = {
        "package": "some.package",
        "version": "1.0.0",
        "package_sha256": "0" * 64,
        "member": "package/some.aar",
        "file_name": aar.name,
        "sha256": file_sha256(aar),
    }
    libraries = {"arm64-v8a": hashlib.sha256(library).hexdigest(), "x86_64": "0" * 64}
    pins = {"archive": archive, "engine_version": "1.30.0", "libraries": libraries}
    (tmp_path / "android.yaml").write_text(json.dumps(pins))
    monkeypatch.setattr(bundle_module, "_ANDROID", tmp_path / "android.yaml")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MNAS_DOWNLOADS", str(tmp_path))
    return aar


def test_the_pinned_archive_gives_the_same_bundle_as_the_file(official: Path) -> None:
    assert prepare_android_bundle("arm64-v8a") == prepare_bundle("arm64-v8a", official)


def test_the_archive_is_opened_once(official: Path) -> None:
    first = prepare_android_bundle("arm64-v8a")
    official.unlink()
    assert prepare_android_bundle("arm64-v8a") == first


def test_a_library_that_is_not_the_pinned_one_is_refused(official: Path) -> None:
    with zipfile.ZipFile(official, "a") as archive:
        archive.writestr("jni/x86_64/libonnxruntime.so", b"\x7fELF")
    with pytest.raises(ToolError, match="not the pinned"):
        prepare_android_bundle("x86_64")


def test_an_abi_without_a_runner_is_refused() -> None:
    with pytest.raises(ToolError, match=re.escape("'armeabi-v7a'; there is one for ['arm64-v8a', 'x86_64']")):
        prepare_android_bundle("armeabi-v7a")
