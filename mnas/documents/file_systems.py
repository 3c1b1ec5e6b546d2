"""File systems by name, for messages about what one cannot do."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
# What flock raises on a file system without locks: NFS without its lock service, some FUSE and cluster file systems.
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP))


def lacks_locks(error: OSError) -> bool:
    """Return whether flock failed because the file system has no locks, and not because somebody holds the lock."""
    return error.errno in _NO_LOCKS


def file_system_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system that a path is on and where it is mounted, such as `nfs4 at /home`.

    Args:
        path: A path, which need not exist.
        mounts: The kernel's list of mounts.

    Returns:
        `unknown` if the list of mounts cannot be read.
    """
    place = Path(os.path.realpath(path))
    found, type_ = None, ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return "unknown"
    for line in lines:
        # proc(5): ID, parent, device, root, mount point, options, ..., "-", type, source, options.
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4]))
        # A later mount at the same place hides the earlier one.
        if place.is_relative_to(point) and (found is None or len(point.parts) >= len(found.parts)):
            found, type_ = point, after.split()[0]
    return "unknown" if found is None else f"{type_} at {found}"
