"""What a machine has for Ascend: CANN, driver, MindSpore, Python packages, devices, environment variables.

Nothing of this has been run on a machine with an NPU or with CANN.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from mnas.machine.probe import PREFIX

CANN_MODULES = ("te", "acl", "hccl")
"""What MindSpore imports of CANN: its operator compiler, its runtime, and its communication."""

PACKAGES: Mapping[str, str] = {
    "absl": "absl-py",
    "attr": "attrs",
    "cffi": "cffi",
    "cloudpickle": "cloudpickle",
    "decorator": "decorator",
    "psutil": "psutil",
    "scipy": "scipy",
    "sympy": "sympy",
    "tornado": "tornado",
}
"""What CANN's operator compiler imports, and the packages that have it; the extra `mnas[ascend]` installs them."""

DRIVER_FILE = Path("/usr/local/Ascend/driver/version.info")
PROBE_TIMEOUT_S = 120.0
_VERSION = re.compile(r"^\s*version\s*=\s*\W*(\d+(?:\.\w+)*)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class DeviceMemory:
    """The memory of one NPU, in 10^9 bytes."""

    free_gb: float
    total_gb: float


@dataclass(frozen=True)
class AscendMachine:
    """What was found on a machine.

    Attributes:
        variables: The environment.
        mindspore: Version of MindSpore; None if it is not installed.
        cann: Version of CANN; None if there is none, or it does not say.
        driver: Version of the driver; None if there is none, or it does not say.
        missing_packages: Names of packages to install.
        import_errors: Why each of `CANN_MODULES` cannot be imported; None if it can.
        devices: The memory of each NPU that a process here may use.
        device_error: Why there is no answer about the devices; None if there is one.
    """

    variables: Mapping[str, str]
    mindspore: str | None
    cann: str | None
    driver: str | None
    missing_packages: tuple[str, ...]
    import_errors: Mapping[str, str | None]
    devices: tuple[DeviceMemory, ...]
    device_error: str | None


def look_at_ascend() -> AscendMachine:
    """Look at this machine; takes some seconds."""
    found = probe(CANN_MODULES)
    home = os.environ.get("ASCEND_HOME_PATH")
    return AscendMachine(
        variables=dict(os.environ),
        mindspore=_installed("mindspore"),
        cann=None if home is None else version_in(Path(home) / "compiler" / "version.info"),
        driver=version_in(DRIVER_FILE),
        missing_packages=tuple(package for module, package in PACKAGES.items() if find_spec(module) is None),
        import_errors=found.import_errors,
        devices=found.devices,
        device_error=found.device_error,
    )


@dataclass(frozen=True)
class Probe:
    """What `mnas.machine.probe` says; see `AscendMachine`."""

    import_errors: Mapping[str, str | None]
    devices: tuple[DeviceMemory, ...]
    device_error: str | None


def probe(modules: Sequence[str] = ("acl",)) -> Probe:
    """Import modules and look at the devices, in a process that gives the devices back at its end."""
    command = [sys.executable, "-m", "mnas.machine.probe", *modules]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # Ray adds to it in its workers
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _no_answer(modules, f"no answer within {PROBE_TIMEOUT_S:g} s")
    for line in done.stdout.splitlines():
        if line.startswith(PREFIX):
            return read_probe(line.removeprefix(PREFIX))
    return _no_answer(modules, f"the process that asked ended with code {done.returncode}")


def read_probe(text: str) -> Probe:
    """Return what a line of the probe says."""
    found = json.loads(text)
    devices = tuple(DeviceMemory(each["free_bytes"] / 1e9, each["total_bytes"] / 1e9) for each in found["devices"])
    return Probe(found["imports"], devices, found["device_error"])


def folder_variables(folder: Path) -> dict[str, str]:
    """Return the environment variables that keep CANN's logs and caches of a process in a folder, and bounded.

    A process has at most 4 log files of 20 MB and 2,000 MB of compiled kernels. The folder is made if it is new.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "ASCEND_PROCESS_LOG_PATH": str(folder / "log"),
        "ASCEND_WORK_PATH": str(folder / "work"),
        "ASCEND_CACHE_PATH": str(folder / "cache"),
        "ASCEND_HOST_LOG_FILE_NUM": "4",
        "ASCEND_MAX_OP_CACHE_SIZE": "2000",
    }


def version_in(file: Path) -> str | None:
    """Return the version that a file of CANN or of the driver names; None if it names none."""
    try:
        found = _VERSION.search(file.read_text(errors="replace"))
    except OSError:
        return None
    return None if found is None else found[1]


def _no_answer(modules: Iterable[str], reason: str) -> Probe:
    return Probe(dict.fromkeys(modules, reason), (), reason)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
