"""What mnas keeps outside run directories: how much it is, and how to delete it.

Run directories and exported folders are the user's, and are never deleted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from latency.user_folders import cache_folder, home_folder, profile_folder, state_folder
from mnas.documents.user_paths import user_path
from mnas.errors import ConfigurationError, Error


@dataclass(frozen=True)
class Kept:
    """Files of one kind.

    Attributes:
        name: A short name.
        subject: What the files are.
        paths: Files and folders that exist.
        deletable: Whether `delete` deletes them. The others are listed only.
        instead: What to do with files that are not deleted here, or what deleting them costs.
    """

    name: str
    subject: str
    paths: tuple[Path, ...]
    deletable: bool
    instead: str

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, links not followed."""
        return sum(_size_bytes(path) for path in self.paths)


def kept_files() -> list[Kept]:
    """Return everything that mnas keeps for this user outside run directories."""
    cache, state = cache_folder(), state_folder()
    chosen = os.environ.get("MNAS_LATENCY_CACHE", "off")
    latency_cache = cache / "latency.sqlite3" if chosen == "off" else user_path(chosen)
    adb_key = home_folder() / ".android" / "adbkey"
    return [
        _kept("downloads", "packages that were fetched", [cache / "downloads"], "they are fetched again when needed"),
        _kept("runtimes", "what is pushed to phones", [cache / "runtimes"], "they are made again from the downloads"),
        _kept(
            "latency-cache",
            "latencies measured before",
            [latency_cache, *(latency_cache.with_name(latency_cache.name + end) for end in ("-wal", "-shm"))],
            "networks are measured again",
        ),
        _kept("loopback-phone", "its storage", [cache / "loopback-phone"], "the runtime is pushed again"),
        _kept(
            "cann-stubs", "stand-ins for CANN of tests and benchmarks", [cache / "cann-stubs"], "they are built again"
        ),
        _kept("ray-sessions", "logs of Ray clusters that have ended", _ended_ray_sessions(), "they are lost"),
        _listed("profiles", "phones that were added", [profile_folder()], "mnas phones remove NAME"),
        _listed("leases", "who measures on which phone now", [state / "leases"], "running searches need them"),
        _listed("key", "what phones know this user by", [adb_key], "adb's own; without it, phones ask again"),
    ]


def delete(kept: Iterable[Kept]) -> None:
    """Delete files that `kept_files` returned.

    Raises:
        ConfigurationError: Files of this kind are listed only.
        Error: A file cannot be deleted.
    """
    for entry in kept:
        if not entry.deletable:
            raise ConfigurationError(f"{entry.name}: is not deleted here ({entry.instead})")
        for path in entry.paths:
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise Error(f"{error.filename}: cannot be deleted ({error.strerror}); check its permissions") from error


def _kept(name: str, subject: str, paths: Iterable[Path], instead: str) -> Kept:
    return Kept(name, subject, tuple(path for path in paths if path.exists()), True, instead)


def _listed(name: str, subject: str, paths: Iterable[Path], instead: str) -> Kept:
    return Kept(name, subject, tuple(path for path in paths if path.exists()), False, instead)


def _ended_ray_sessions() -> list[Path]:
    """Return this user's session folders of Ray that no running process names in its command line."""
    folder = user_path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    sessions = [
        path
        for path in sorted(folder.glob("session_*"))
        if not path.is_symlink() and path.is_dir() and path.stat().st_uid == os.getuid()
    ]
    if not sessions:
        return []
    running = "\n".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    # A session's name ends with the id of the process that started it, whose command line does not name it.
    return [path for path in sessions if path.name not in running and not _starter_runs(path.name)]


def _starter_runs(session: str) -> bool:
    process_id = session.rpartition("_")[2]
    return process_id.isdigit() and psutil.pid_exists(int(process_id))


def _size_bytes(path: Path) -> int:
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    size = 0
    for root, _, names in os.walk(path):
        for name in names:
            try:
                size += Path(root, name).lstat().st_size
            except FileNotFoundError:  # deleted meanwhile by whatever uses it
                continue
    return size
