"""What a Ray of our own needs of this machine: open files, a folder for its sockets, and a token."""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mnas.errors import ClusterError, ConfigurationError

# The processes of a small local Ray have up to some hundred open files each.
MIN_OPEN_FILES = 512
# The path of a Unix socket has at most 107 bytes; Ray adds "/session_<26 characters>_<process>/sockets/plasma_store.1".
MAX_FOLDER_BYTES = 107 - 66
MIN_FREE_BYTES = 100_000_000
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def check_open_files() -> None:
    """Raise ClusterError if this process may open too few files; Ray raises the soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MIN_OPEN_FILES:
        raise ClusterError(
            f"this process may open {hard} files, and Ray needs {MIN_OPEN_FILES} at least; raise the limit "
            "(`ulimit -n 4096`; `LimitNOFILE` of a systemd service)"
        )


def ray_folder() -> Path:
    """Return where Ray keeps its sessions by default."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", "ray")


def folder_problem(folder: Path) -> str | None:
    """Return why Ray cannot keep its sockets and logs in a folder, None if it can."""
    length = len(os.fsencode(os.path.abspath(folder)))
    if length > MAX_FOLDER_BYTES:
        return f"its path has {length} bytes, and Ray's sockets allow {MAX_FOLDER_BYTES}"
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return f"{there} cannot be written"
    for name in ("ray_current_cluster", "session_latest"):
        if os.path.lexists(folder / name) and not os.access(folder / name, os.W_OK):
            return f"{folder / name} is another user's"
    free = shutil.disk_usage(there).free
    if free < MIN_FREE_BYTES:
        return f"it has {free / 1e6:.0f} MB of free space, and Ray needs {MIN_FREE_BYTES / 1e6:.0f}"
    return None


@contextmanager
def session_folder(places: Sequence[Path] | None = None) -> Iterator[Path | None]:
    """Find a folder for Ray's sockets and logs.

    Args:
        places: Folders in which an own one may be made if Ray's cannot be used.

    Yields:
        None if Ray's own folder can be used, otherwise a folder that is removed when the context ends.

    Raises:
        ClusterError: There is none.
    """
    problem = folder_problem(ray_folder())
    if problem is None:
        yield None
        return
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    for place in places or [Path(path) for path in ("/tmp", "/var/tmp", runtime, "/dev/shm") if path]:
        # The form of the name that is made next: its length counts.
        if place.is_dir() and folder_problem(place / "mnas-12345678" / "ray") is None:
            # Ray opens its folder to all users; the one around it stays closed.
            with tempfile.TemporaryDirectory(prefix="mnas-", dir=place, ignore_cleanup_errors=True) as own:
                yield Path(own, "ray")
            return
    raise ClusterError(
        f"{ray_folder()}: Ray cannot work here: {problem}; free some space there, or set RAY_TMPDIR to a folder with a "
        f"path of at most {MAX_FOLDER_BYTES - len('/ray')} bytes, which can be written"
    )


def has_token() -> bool:
    """Return whether Ray finds a token to show to a cluster.

    Raises:
        ConfigurationError: RAY_AUTH_TOKEN_PATH names a file that cannot be read: Ray would end the process.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        if not (os.path.isfile(path) and os.access(path, os.R_OK)):
            raise ConfigurationError(f"RAY_AUTH_TOKEN_PATH: {path} cannot be read; correct it, or unset the variable")
        return True
    home = os.environ.get("HOME")
    return bool(home) and os.access(os.path.join(home or "", ".ray", "auth_token"), os.R_OK)


def provide_token() -> None:
    """Give this process a token for a Ray of its own, unless the user has one.

    Ray would write one to the home folder, which may be read-only or missing. A file there also changes what a later
    `ray start --head` of the user does.
    """
    if not has_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
