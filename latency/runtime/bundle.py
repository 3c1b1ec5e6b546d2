"""The runtime bundle of an ABI: the runner, ONNX Runtime and the libraries it needs, each verified by its hash.

No Android SDK, NDK or compiler takes part: ONNX Runtime comes out of the Linux wheel of the phone's architecture, and
runs with the C library it was built for, which `bundles.yaml` takes out of Debian packages.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import msgspec
import yaml

from latency.downloads import DebianPackage, Wheel, cache_folder, debian_packages, file_sha256, wheel
from latency.errors import ToolError

_BUNDLES = Path(__file__).with_name("bundles.yaml")
_RUNNERS = Path(__file__).parents[1] / "runner" / "prebuilt"
_RUNNER = "mnas_runner"
_LIBRARY = "libonnxruntime.so"


@dataclass(frozen=True)
class BundleFile:
    """One file of a bundle, as it lies on this machine and will lie on the phone."""

    name: str
    path: Path
    sha256: str
    executable: bool


@dataclass(frozen=True)
class RuntimeBundle:
    """All files of a runtime, complete and verified."""

    abi: str
    engine: str
    engine_version: str
    digest: str
    """Hash over the names and hashes of the files: equal digests time alike."""
    files: tuple[BundleFile, ...]
    loader: str
    """The file that starts the runner: the dynamic loader of the C library in the bundle."""

    @property
    def folder(self) -> Path:
        """Where all files lie on this machine; where its processor can run them, they run in it."""
        return self.files[0].path.parent

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line of a runner with these arguments, relative to the folder of the files.

        >>> # ./ld-linux-aarch64.so.1 --library-path . ./mnas_runner --lib ./libonnxruntime.so ARGUMENTS
        """
        return [f"./{self.loader}", "--library-path", ".", f"./{_RUNNER}", "--lib", f"./{_LIBRARY}", *arguments]


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


def prepare_bundle(abi: str) -> RuntimeBundle:
    """The bundle for phones of this ABI (`arm64-v8a`, `x86_64`): fetched at first, from the cache afterwards.

    Raises ToolError (`runtime_unavailable`) for an unknown ABI, or when a file cannot be had or is not the pinned one.
    """
    descriptions = msgspec.convert(yaml.safe_load(_BUNDLES.read_text()), dict[str, _Description])
    if abi not in descriptions:
        raise ToolError("runtime_unavailable", f"no runtime for the ABI {abi!r}; there is one for {list(descriptions)}")
    description = descriptions[abi]
    runner = _RUNNERS / abi / _RUNNER
    hashes = {_RUNNER: file_sha256(runner)}
    hashes |= {file.name: file.sha256 for part in _parts(description) for file in part.files}
    digest = hashlib.sha256("".join(f"{name} {hashes[name]}\n" for name in sorted(hashes)).encode()).hexdigest()
    folder = cache_folder() / "runtimes" / f"{abi}-{digest[:16]}"
    executables = (_RUNNER, description.loader)
    _place(folder, _RUNNER, hashes[_RUNNER], runner.read_bytes)
    for part in _parts(description):
        for file in part.files:
            _place(folder, file.name, file.sha256, partial(_read_member, part, file))
    for name in executables:
        (folder / name).chmod(0o755)
    return RuntimeBundle(
        abi=abi,
        engine="onnxruntime",
        engine_version=description.wheel.pin.version,
        digest=digest,
        files=tuple(BundleFile(name, folder / name, hashes[name], name in executables) for name in sorted(hashes)),
        loader=description.loader,
    )


def _parts(description: _Description) -> Iterator[_WheelPart | _PackagePart]:
    yield description.wheel
    yield from description.packages


def _place(folder: Path, name: str, sha256: str, read: Callable[[], bytes]) -> None:
    """Put a file into the folder unless the right one is there; complete or not at all, for other processes read it."""
    path = folder / name
    if path.is_file() and file_sha256(path) == sha256:
        return
    content = read()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ToolError("runtime_unavailable", f"{name} has SHA-256 {found}, not {sha256} as bundles.yaml says")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            complete = Path(temporary) / name
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
    """The same file of the package as it is installed here, where it is the very same: no need to fetch it."""
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
