"""Debian's adb programs, unpacked into a folder and run from there; nothing is installed."""

from __future__ import annotations

from pathlib import Path

from latency.downloads import debian_packages, read_debian_packages, unpack_debian_package

PINS = (Path(__file__).parents[1] / "adbd_packages.yaml", Path(__file__).with_name("adb_packages.yaml"))


def unpack_adb(root: Path) -> None:
    """Fetch (once; they are cached) and unpack the packages. Raises ToolError where they cannot be had."""
    for package in debian_packages(pin for path in PINS for pin in read_debian_packages(path)):
        unpack_debian_package(package, root)


def command(root: Path, program: str) -> list[str]:
    """How `adb` or `adbd` is started with the libraries it was built for, on any other Linux."""
    libraries = root / "usr/lib/x86_64-linux-gnu"
    return [
        str(libraries / "ld-linux-x86-64.so.2"),
        "--library-path",
        f"{libraries}:{libraries / 'android'}",
        str(root / "usr/lib/android-sdk/platform-tools" / program),
    ]
