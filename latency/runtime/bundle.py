"""The runtime bundle of an ABI.

The runner, ONNX Runtime and the libraries that it needs, each verified by its hash.

No Android SDK, NDK or compiler is needed. There are two kinds:

- bionic: the library out of an official Android archive (AAR), which runs on Android's own C library. `android.yaml`
  names the archive; the user may have another one as a file.
- glibc: the library out of the Linux wheel of the phone's architecture, with the C library it was built for, which
  `bundles.yaml` takes out of Debian packages. It runs on any Linux kernel, Android's included.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import msgspec
import yaml

from latency.downloads import DebianPackage, NpmFile, Wheel, debian_packages, file_sha256, npm_file, wheel
from latency.errors import ToolError
from latency.user_folders import cache_folder

_BUNDLES = Path(__file__).with_name("bundles.yaml")
_ANDROID = Path(__file__).with_name("android.yaml")
_MAX_LIBRARY_BYTES = 1 << 28  # Eight times the size of today's; an archive says how large its files become.
_RUNNERS = Path(__file__).parents[1] / "runner" / "prebuilt"
_RUNNER = "mnas_runner"
_BIONIC_RUNNER = "mnas_runner_bionic"
_LIBRARY = "libonnxruntime.so"
# The version of all symbols that an official build of ONNX Runtime exports.
_VERSION_SYMBOL = re.compile(rb"\0VERS_(\d+\.\d+\.\d+)\0")


@dataclass(frozen=True)
class BundleFile:
    """One file of a bundle, on this machine and on the phone."""

    name: str
    path: Path
    sha256: str
    executable: bool


@dataclass(frozen=True)
class RuntimeBundle:
    """All files of a runtime, complete and verified.

    Attributes:
        abi: The ABI of its programs.
        engine: Name of the engine.
        engine_version: Version of the engine.
        digest: Hash over the names and hashes of the files: bundles with equal digests time alike.
        files: The files.
        loader: The file that starts the runner: the loader of the C library in the bundle; None on the phone's own.
    """

    abi: str
    engine: str
    engine_version: str
    digest: str
    """Hash over the names and hashes of the files: equal digests time alike."""
    files: tuple[BundleFile, ...]
    loader: str | None
    """The file that starts the runner: the loader of the C library in the bundle; None on the phone's own."""

    @property
    def folder(self) -> Path:
        """The folder of all files on this machine.

        They run in it if this machine's processor can run them.
        """
        return self.files[0].path.parent

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line of a runner with these arguments.

        It is relative to the folder of the files.
        """
        start = [] if self.loader is None else [f"./{self.loader}", "--library-path", "."]
        return [*start, f"./{_RUNNER}", "--lib", f"./{_LIBRARY}", *arguments]


@dataclass(frozen=True)
class _Member:
    name: str
    member: str
    sha256: str


@dataclass(frozen=True)
class _WheelPart:
    pin: Wheel
    files: tuple[_Member, ...]


@dataclass(frozen=True)
class _PackagePart:
    pin: DebianPackage
    files: tuple[_Member, ...]


@dataclass(frozen=True)
class _Description:
    """One entry of `bundles.yaml`."""

    loader: str
    wheel: _WheelPart
    packages: tuple[_PackagePart, ...]


@dataclass(frozen=True)
class _Android:
    """The content of `android.yaml`; `libraries` has hashes by ABI."""

    archive: NpmFile
    engine_version: str
    libraries: dict[str, str]


@dataclass(frozen=True)
class _Source:
    """A file that a bundle needs, and how to get its bytes."""

    name: str
    sha256: str
    read: Callable[[], bytes]


def prepare_bundle(abi: str, aar: Path | None = None) -> RuntimeBundle:
    """Return the glibc bundle for phones of an ABI, or the bionic bundle of the user's archive.

    Fetch it the first time, take it from the cache later.

    Args:
        abi: `arm64-v8a` or `x86_64`.
        aar: The file of an official Android build of ONNX Runtime (`onnxruntime-android-VERSION.aar`). The bundle is
            then that library and the runner for Android's own C library, and nothing is fetched.

    Raises:
        ToolError: `runtime_unavailable`: an unknown ABI, or a file that cannot be had or is not the right one.
    """
    descriptions = msgspec.convert(yaml.safe_load(_BUNDLES.read_text()), dict[str, _Description])
    if abi not in descriptions:
        raise ToolError("runtime_unavailable", f"no runtime for the ABI {abi!r}; there is one for {list(descriptions)}")
    if aar is not None:
        return _android_bundle(abi, aar)
    description = descriptions[abi]
    sources = [_runner_source(abi, "mnas_runner")]
    parts: list[_WheelPart | _PackagePart] = [description.wheel, *description.packages]
    for part in parts:
        sources += [_Source(file.name, file.sha256, partial(_read_member, part, file)) for file in part.files]
    return _bundle(abi, description.wheel.pin.version, sources, description.loader)


def prepare_android_bundle(abi: str) -> RuntimeBundle:
    """Return the bionic bundle for phones of an ABI: the pinned archive's library.

    Fetch the archive the first time, take the library from the cache later.

    Raises:
        ToolError: `runtime_unavailable`: an unknown ABI, or the archive cannot be had.
    """
    android = msgspec.convert(yaml.safe_load(_ANDROID.read_text()), _Android)
    if abi not in android.libraries:
        raise ToolError(
            "runtime_unavailable", f"no runtime for the ABI {abi!r}; there is one for {list(android.libraries)}"
        )
    library = _Source(_LIBRARY, android.libraries[abi], lambda: _read_from_archive(npm_file(android.archive), abi))
    return _bundle(abi, android.engine_version, [_runner_source(abi, _BIONIC_RUNNER), library], loader=None)


def _android_bundle(abi: str, aar: Path) -> RuntimeBundle:
    library = _read_from_archive(aar, abi)
    version = _VERSION_SYMBOL.search(library)
    if version is None:
        raise ToolError("runtime_unavailable", f"{aar}: its {_LIBRARY} does not say its version; is it ONNX Runtime?")
    source = _Source(_LIBRARY, hashlib.sha256(library).hexdigest(), lambda: library)
    return _bundle(abi, version[1].decode(), [_runner_source(abi, _BIONIC_RUNNER), source], loader=None)


def _read_from_archive(aar: Path, abi: str) -> bytes:
    try:
        with zipfile.ZipFile(aar) as archive:
            member = archive.getinfo(f"jni/{abi}/{_LIBRARY}")
            if member.file_size > _MAX_LIBRARY_BYTES:
                raise ToolError(
                    "runtime_unavailable",
                    f"{aar}: its {_LIBRARY} has {member.file_size} bytes; at most {_MAX_LIBRARY_BYTES} are read",
                )
            return archive.read(member)
    except (OSError, zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, zlib.error) as error:
        message = f"{aar} is no AAR of ONNX Runtime for {abi}: {error}; it is published as onnxruntime-android"
        raise ToolError("runtime_unavailable", message) from error


def _runner_source(abi: str, variant: str) -> _Source:
    binary = _RUNNERS / abi / variant
    return _Source(_RUNNER, file_sha256(binary), binary.read_bytes)


def _bundle(abi: str, version: str, sources: list[_Source], loader: str | None) -> RuntimeBundle:
    sources = sorted(sources, key=lambda source: source.name)
    digest = hashlib.sha256("".join(f"{source.name} {source.sha256}\n" for source in sources).encode()).hexdigest()
    folder = cache_folder() / "runtimes" / f"{abi}-{digest[:16]}"
    files = []
    for source in sources:
        _place(folder, source)
        executable = source.name in (_RUNNER, loader)
        if executable:
            (folder / source.name).chmod(0o755)
        files.append(BundleFile(source.name, folder / source.name, source.sha256, executable))
    return RuntimeBundle(abi, "onnxruntime", version, digest, tuple(files), loader)


def _place(folder: Path, source: _Source) -> None:
    """Put a file into the folder unless it is there, complete or not at all.

    Other processes read it.
    """
    path = folder / source.name
    if path.is_file() and file_sha256(path) == source.sha256:
        return
    content = source.read()
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        message = f"{source.name} has SHA-256 {found}, not {source.sha256} as bundles.yaml says"
        raise ToolError("runtime_unavailable", message)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            complete = Path(temporary) / source.name
            complete.write_bytes(content)
            complete.replace(path)
    except OSError as error:
        message = f"cannot keep {path}: {error}; make room or name another folder by XDG_CACHE_HOME"
        raise ToolError("runtime_unavailable", message) from error


def _read_member(part: _WheelPart | _PackagePart, file: _Member) -> bytes:
    if isinstance(part, _PackagePart):
        [package] = debian_packages([part.pin])
        return _read_from_package(package, file.member)
    if (installed := _installed_file(part.pin, file)) is not None:
        return installed.read_bytes()
    with zipfile.ZipFile(wheel(part.pin)) as archive:
        return archive.read(file.member)


def _installed_file(pin: Wheel, file: _Member) -> Path | None:
    """Return the file of the package as it is installed here, if it is identical.

    It need not be fetched then.
    """
    try:
        path = Path(str(metadata.distribution(pin.name).locate_file(file.member)))
    except metadata.PackageNotFoundError:
        return None
    return path if path.is_file() and file_sha256(path) == file.sha256 else None


def _read_from_package(package: Path, member: str) -> bytes:
    try:
        unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        message = "cannot unpack Debian packages: this machine has no dpkg-deb; install dpkg"
        raise ToolError("runtime_unavailable", message) from error
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        content = archive.extractfile(f"./{member}")
        if content is None:
            raise ToolError("runtime_unavailable", f"{package.name} has no file {member}")
        return content.read()
