"""Debian's adb client and server, unpacked next to its adbd (`latency.loopback`)."""

from __future__ import annotations

from pathlib import Path

from latency.downloads import debian_packages, read_debian_packages, unpack_debian_package

PINS = Path(__file__).with_name("adb_packages.yaml")


def unpack_adb(root: Path) -> None:
    """Fetch (once; they are cached) and unpack the packages. Raises ToolError if they cannot be had."""
    for package in debian_packages(read_debian_packages(PINS)):
        unpack_debian_package(package, root)
