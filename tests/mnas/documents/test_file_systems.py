import errno
from pathlib import Path

import pytest

from mnas.documents.file_systems import file_system_of, lacks_locks

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:50 / /home rw,relatime shared:2 - nfs4 server:/home rw
31 30 0:51 / /home/my\\040files rw - fuse.sshfs me@host:/ rw
32 21 0:52 / /home rw - tmpfs none rw
not a line of the kernel
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return path


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/var/none", "ext4 at /"),
        ("/home/me/run", "tmpfs at /home"),
        ("/homestead", "ext4 at /"),
        ("/home/my files/run", "fuse.sshfs at /home/my files"),
    ],
)
def test_the_last_mount_above_a_path_counts(path: str, found: str, mounts: Path) -> None:
    assert file_system_of(Path(path), mounts) == found


def test_without_a_list_of_mounts_it_is_unknown(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, tmp_path / "none") == "unknown"


@pytest.mark.parametrize(
    ("number", "lacks"),
    [(errno.ENOLCK, True), (errno.EOPNOTSUPP, True), (errno.ENOSYS, True), (errno.EAGAIN, False), (errno.EIO, False)],
)
def test_a_lock_that_is_held_is_no_lack(number: int, lacks: bool) -> None:
    assert lacks_locks(OSError(number, "text")) is lacks
