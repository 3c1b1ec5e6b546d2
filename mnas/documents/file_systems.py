"""File systems: what one is called, and whether other machines write to it, too.

A search needs two things of its run directory: a lock that keeps a second search away, and a database that a kill
cannot damage. A write-ahead log shares memory between its readers and its writer, so it works on one machine only; and
on some network file systems locks are not seen by other machines.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_MOUNTS = Path("/proc/self/mountinfo")
# What flock raises on a file system without locks: NFS without its lock service, some FUSE and cluster file systems.
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP))

# Locks are seen by all machines, unless these options of the mount say otherwise.
_LOCKED_BETWEEN_MACHINES = {
    "nfs": ("nolock", "local_lock=all", "local_lock=flock"),
    "nfs4": ("nolock", "local_lock=all", "local_lock=flock"),
    "lustre": ("noflock", "localflock"),
    "ceph": (),
    "gpfs": (),
    "beegfs": (),
}
# Locks are not seen by other machines, or a database cannot rely on them.
_NOT_LOCKED = frozenset(
    {
        *("9p", "afp", "afpfs", "afs", "cifs", "coda", "davfs", "ncpfs", "smb2", "smb3", "smbfs"),
        *("vboxsf", "virtiofs", "vmhgfs", "fuse.vmhgfs-fuse"),
        *("fuse.ceph-fuse", "fuse.davfs", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys"),
        *("fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)


@dataclass(frozen=True)
class Storage:
    """The file system of a folder.

    Attributes:
        kind: `local`: of this machine. `shared`: of several machines, with locks that all of them see. `unsafe`: of
            several machines, or of a virtual machine's host, without such locks.
        reason: What makes it unsafe: the option of the mount, or the type.
    """

    kind: Literal["local", "shared", "unsafe"]
    reason: str = ""


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
    mount = _mount_of(path, mounts)
    return "unknown" if mount is None else f"{mount.type} at {mount.point}"


def storage_of(path: Path, mounts: Path = _MOUNTS) -> Storage:
    """Return what kind of storage a path is on; if that cannot be found out, it counts as local.

    Args:
        path: A path, which need not exist.
        mounts: The kernel's list of mounts.
    """
    mount = _mount_of(path, mounts)
    if mount is None or mount.point == Path("/"):  # a container has a root of its own, whatever carries it
        return Storage("local")
    if mount.type in _NOT_LOCKED:
        return Storage("unsafe", f"the file system {mount.type}")
    if mount.type in _LOCKED_BETWEEN_MACHINES:
        for option in _LOCKED_BETWEEN_MACHINES[mount.type]:
            if option in mount.options:
                return Storage("unsafe", f"the file system {mount.type} with the mount option {option}")
        return Storage("shared")
    return Storage("local")


@dataclass(frozen=True)
class _Mount:
    point: Path
    type: str
    options: frozenset[str]


def _mount_of(path: Path, mounts: Path) -> _Mount | None:
    place = Path(os.path.realpath(path))
    found = None
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        # proc(5): ID, parent, device, root, mount point, options, ..., "-", type, source, options.
        before, _, after = line.partition(" - ")
        fields, what = before.split(), after.split()
        if len(fields) < 5 or not what:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4]))
        # A later mount at the same place hides the earlier one.
        if place.is_relative_to(point) and (found is None or len(point.parts) >= len(found.point.parts)):
            found = _Mount(
                point, what[0], frozenset((*"".join(what[2:3]).split(","), *"".join(fields[5:6]).split(",")))
            )
    return found
