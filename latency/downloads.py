"""Files fetched from package registries.

They are pinned by name, version and SHA-256, and kept in the user's cache.

Registries are reached only through the clients that the user has set up, so mirrors and proxies are respected: pip for
wheels, apt for Debian packages, npm for npm's. apt fetches one named file of the pool; it installs nothing and needs no
rights. A file may also be fetched by hand and put into the folder that the variable MNAS_DOWNLOADS names; that folder
is searched first.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import msgspec
import yaml

from latency.errors import ToolError
from latency.user_folders import cache_folder
from mnas.documents.user_paths import user_path

FETCH_TIMEOUT_S = 600.0
_APT_HELPER = "/usr/lib/apt/apt-helper"


@dataclass(frozen=True)
class DebianPackage:
    """One file of Debian's package pool.

    Attributes:
        path: Where every Debian mirror has it: `pool/main/...deb`.
        sha256: Hash of the file.
    """

    path: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.path).name

    @property
    def origin(self) -> str:
        """Where people find it."""
        return f"{self.path} of any Debian mirror"


@dataclass(frozen=True)
class Wheel:
    """One binary wheel of the Python package index.

    Attributes:
        name: Name of the package.
        version: Version of the package.
        python: Python tag, which is the ABI tag too: `cp311`.
        platform: Platform tag: `manylinux_2_28_aarch64`.
        sha256: Hash of the file.
    """

    name: str
    version: str
    python: str
    platform: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The file's own name."""
        return f"{self.name}-{self.version}-{self.python}-{self.python}-{self.platform}.whl"

    @property
    def origin(self) -> str:
        """Where people find it."""
        return f"{self.file_name} of {self.name} on the Python package index"


@dataclass(frozen=True)
class NpmFile:
    """One file of a package of the npm registry; the rest of the package is not kept.

    Attributes:
        package: Name of the package.
        version: Version of the package.
        package_sha256: Hash of the package's archive.
        member: The file in the archive.
        file_name: What the file is called here.
        sha256: Hash of the file.
    """

    package: str
    version: str
    package_sha256: str
    member: str
    file_name: str
    sha256: str

    @property
    def archive_name(self) -> str:
        """What npm calls the package's archive."""
        return f"{self.package}-{self.version}.tgz"

    @property
    def origin(self) -> str:
        """Where people find it."""
        return f"{self.member} out of `npm pack {self.package}@{self.version}`, under the name {self.file_name}"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_debian_packages(path: Path) -> list[DebianPackage]:
    """Read pins from a YAML list of `{path, sha256}`."""
    return msgspec.convert(yaml.safe_load(path.read_text()), list[DebianPackage])


def debian_packages(pins: Iterable[DebianPackage]) -> list[Path]:
    """Return the package files; fetch those that are not in the cache.

    Raises:
        ToolError: `runtime_unavailable`.
    """
    return [_obtain(pin, partial(_fetch_from_pool, pin)) for pin in pins]


def wheel(pin: Wheel) -> Path:
    """Return the wheel file; fetch it if it is not in the cache.

    Raises:
        ToolError: `runtime_unavailable`.
    """
    return _obtain(pin, partial(_fetch_from_index, pin))


def npm_file(pin: NpmFile) -> Path:
    """Return the file; fetch its package if it is not in the cache.

    Raises:
        ToolError: `runtime_unavailable`.
    """
    return _obtain(pin, partial(_fetch_from_npm, pin))


def unpack_debian_package(package: Path, folder: Path) -> None:
    """Unpack the package's files into `folder`.

    Raises:
        ToolError: `runtime_unavailable`.
    """
    _run(["dpkg-deb", "--extract", str(package), str(folder)], f"unpack {package.name}")


def _obtain(pin: DebianPackage | Wheel | NpmFile, fetch: Callable[[Path], None]) -> Path:
    if by_hand := os.environ.get("MNAS_DOWNLOADS"):
        path = user_path(by_hand) / pin.file_name
        if path.is_file():
            _verify(path, pin.sha256)
            return path
    folder = cache_folder() / "downloads"
    path = folder / pin.file_name
    if path.is_file() and file_sha256(path) == pin.sha256:
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Next to its final place, which it takes only when complete: two processes may fetch the same file at once.
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            fetch(Path(temporary))
            fetched = Path(temporary) / pin.file_name
            _verify(fetched, pin.sha256)
            fetched.replace(path)
    except OSError as error:
        message = f"cannot keep {pin.file_name}: {error}; make room or name another folder by XDG_CACHE_HOME"
        raise _unavailable(message) from error
    except ToolError as error:
        raise _unavailable(
            f"{error.message}. Or fetch it elsewhere ({pin.origin}; SHA-256 {pin.sha256}), put it into a folder, and "
            "name that folder by the variable MNAS_DOWNLOADS"
        ) from error
    return path


def _verify(path: Path, sha256: str) -> None:
    found = file_sha256(path)
    if found != sha256:
        raise _unavailable(
            f"{path} has SHA-256 {found}, not the pinned {sha256}: it is damaged or another file; remove it and try "
            "again"
        )


def _fetch_from_pool(pin: DebianPackage, folder: Path) -> None:
    failures = []
    sites = _debian_sites()
    for site in sites:
        command = [_APT_HELPER, "-o", "APT::Sandbox::User=root", "download-file"]
        target = folder / pin.file_name
        try:
            _run([*command, f"{site}/{pin.path}", str(target), f"SHA256:{pin.sha256}"], f"fetch {pin.file_name}")
        except ToolError as error:
            failures.append(error.message)
        else:
            return
    raise _unavailable(
        failures[0] if failures else f"cannot fetch {pin.file_name}: apt has no source to fetch Debian packages from"
    )


def _debian_sites() -> list[str]:
    """Return the archives that this machine's apt names, in its order.

    Apt need not have read any of them before.
    """
    listed = _run(["apt-get", "--print-uris", "update"], "list apt's sources")
    # Lines like "'http://site/debian/dists/bookworm/InRelease' name 0".
    return list(dict.fromkeys(re.findall(r"^'(\S+?)/dists/", listed, re.MULTILINE)))


def _fetch_from_index(pin: Wheel, folder: Path) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    tags = ["--only-binary=:all:", "--implementation=cp", f"--platform={pin.platform}", f"--abi={pin.python}"]
    tags.append(f"--python-version={pin.python.removeprefix('cp')}")
    _run([*pip, *tags, f"--dest={folder}", f"--requirement={requirements}"], f"fetch {pin.file_name}")


def _fetch_from_npm(pin: NpmFile, folder: Path) -> None:
    # A cache of its own, which goes with the folder: npm would keep the whole package.
    npm = ["npm", "pack", "--ignore-scripts", "--no-update-notifier", f"--cache={folder / 'npm'}"]
    _run([*npm, f"{pin.package}@{pin.version}"], f"fetch {pin.archive_name}", cwd=folder)
    archive = folder / pin.archive_name
    _verify(archive, pin.package_sha256)
    with tarfile.open(archive) as package:
        try:
            content = package.extractfile(pin.member)
        except KeyError:
            content = None
        if content is None:
            raise _unavailable(f"{pin.archive_name} has no file {pin.member}")
        with (folder / pin.file_name).open("wb") as file:
            shutil.copyfileobj(content, file)


def _run(command: list[str], purpose: str, cwd: Path | None = None) -> str:
    """Run a command and return what it prints. Raise ToolError if it fails."""
    program = Path(command[0]).name
    try:
        # The C locale, so that messages in reports are the ones people can search for.
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=FETCH_TIMEOUT_S,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError as error:
        raise _unavailable(f"cannot {purpose}: this machine has no {program}") from error
    except subprocess.TimeoutExpired as error:
        raise _unavailable(f"cannot {purpose}: {program} took more than {FETCH_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise _unavailable(f"cannot {purpose}: {program}: {lines[-1] if lines else f'status {done.returncode}'}")
    return done.stdout


def _unavailable(message: str) -> ToolError:
    return ToolError("runtime_unavailable", message)
