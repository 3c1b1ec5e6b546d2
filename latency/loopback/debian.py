"""Debian's adb daemon, unpacked into a folder and run from there.

Nothing is installed.
"""

from __future__ import annotations

from pathlib import Path

from latency.downloads import debian_packages, read_debian_packages, unpack_debian_package

_PINS = Path(__file__).with_name("adbd_packages.yaml")


def unpack_adbd(root: Path) -> None:
    """Unpack the daemon and its libraries into `root`.

    The packages are fetched once and cached.

    Raises:
        ToolError: `runtime_unavailable`: a package cannot be had, on a machine without apt for example.
    """
    for package in debian_packages(read_debian_packages(_PINS)):
        unpack_debian_package(package, root)


def command(root: Path, program: str) -> list[str]:
    """Return how a program of Android's platform tools is started from `root`.

    It runs with the libraries that it was built for, so on any Linux.

    Args:
        root: The folder that the packages were unpacked into.
        program: `adbd` or `adb`.
    """
    libraries = root / "usr/lib/x86_64-linux-gnu"
    return [
        str(libraries / "ld-linux-x86-64.so.2"),
        "--library-path",
        f"{libraries}:{libraries / 'android'}",
        str(root / "usr/lib/android-sdk/platform-tools" / program),
    ]
