"""What stands in the way of a search or a training on this machine: one line each, with the remedy.

`mnas check` prints all lines. A search and a training on Ascend make the same check before they start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import psutil

from mnas.errors import ConfigurationError
from mnas.kernels.library import machine_has_kernels
from mnas.machine.ascend import CANN_MODULES, DRIVER_FILE, AscendMachine, look_at_ascend
from mnas.mindspore_setup import Device

CANN_OF_MINDSPORE = {"2.10": ("8.2", "8.3", "8.5", "9.0", "9.1")}
"""Releases of CANN that each release of MindSpore accepts, as its own check has them."""

OLDEST_DRIVER = {"9.1": (25, 2)}
"""The oldest driver for a release of CANN, as far as we know it."""

REDIRECTING_VARIABLES = {
    "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES": "all workers would use the first NPU",
    "MS_SIMULATION_LEVEL": "MindSpore would compute nothing and return whatever is in memory",
}
"""Environment variables with which a run would go wrong without a message, and what they do."""

RANK_VARIABLES = ("RANK_TABLE_FILE", "MINDSPORE_HCCL_CONFIG_PATH", "RANK_SIZE", "RANK_ID", "DEVICE_ID")
"""Variables by which a cluster tells MindSpore of other processes; a worker and `--cards` remove them."""

SUGGESTED_MEMORY_GB = 4.0
SET_ENVIRONMENT = "run `source set_env.sh` of CANN first (before `ray start`, too)"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What it is.
        ok: Whether a search can go on.
        text: What was found, and the remedy if it is not ok.
    """

    subject: str
    ok: bool
    text: str


def check_machine(device: Device) -> list[Finding]:
    """Look at this machine for a device; takes some seconds for Ascend."""
    return check_ascend(look_at_ascend()) if device == "Ascend" else check_cpu()


def require_machine(device: Device) -> None:
    """Raise ConfigurationError with every reason why this machine cannot compute on a device.

    A CPU is not checked: whatever is missing there fails with a message of its own at once.
    """
    if device == "Ascend" and (reasons := [each for each in check_machine(device) if not each.ok]):
        raise ConfigurationError(
            "device: Ascend cannot be used here:"
            + "".join(f"\n  {each.subject}: {each.text}" for each in reasons)
            + "\n`mnas check --device Ascend` makes this check alone"
        )


def check_cpu() -> list[Finding]:
    """Look at this machine for a search and a training on the CPU."""
    memory_gb = psutil.virtual_memory().available / 1e9
    kernels = "used" if machine_has_kernels() else "not for this processor; MindSpore's operators train, more slowly"
    return [
        Finding("Python", sys.version_info[:2] < (3, 13), f"{sys.version.split()[0]}; 3.10 to 3.12 are supported"),
        *(_package(name) for name in ("mindspore", "ray", "onnxruntime")),
        _numpy(),
        Finding("cores", True, f"{len(os.sched_getaffinity(0))}; `search.workers: auto` takes one worker for each"),
        Finding("kernels", True, kernels),
        Finding(
            "memory",
            memory_gb >= SUGGESTED_MEMORY_GB,
            f"{memory_gb:.1f} GB free; two workers take about {SUGGESTED_MEMORY_GB:g} GB: with less, lower "
            "search.workers",
        ),
    ]


def check_ascend(machine: AscendMachine) -> list[Finding]:
    """Return what a machine has and lacks for Ascend."""
    return [
        *_variables(machine),
        _mindspore(machine),
        _cann(machine),
        _driver(machine),
        Finding("Python packages", not machine.missing_packages, _packages_text(machine.missing_packages)),
        *(_module(name, machine) for name in CANN_MODULES),
        _devices(machine),
    ]


def _variables(machine: AscendMachine) -> Iterable[Finding]:
    for name, effect in REDIRECTING_VARIABLES.items():
        if name in machine.variables:
            yield Finding(name, False, f"is set, so {effect}; unset it, also where Ray was started")
    for name in RANK_VARIABLES:
        if name in machine.variables:
            yield Finding(name, True, "is set; workers of a search and `mnas retrain --cards` ignore it")


def _mindspore(machine: AscendMachine) -> Finding:
    if machine.mindspore is None:
        return Finding("MindSpore", False, "is not installed; run `pip install mnas[ascend]`")
    known = "" if _release(machine.mindspore) in CANN_OF_MINDSPORE else "; mnas does not know which CANN it needs"
    return Finding("MindSpore", True, f"{machine.mindspore}{known}")


def _cann(machine: AscendMachine) -> Finding:
    if "ASCEND_HOME_PATH" not in machine.variables:
        return Finding("CANN", False, f"ASCEND_HOME_PATH is not set; {SET_ENVIRONMENT}")
    if machine.cann is None:
        return Finding("CANN", True, f"{machine.variables['ASCEND_HOME_PATH']} does not name its version")
    accepted = CANN_OF_MINDSPORE.get(_release(machine.mindspore or ""))
    if accepted is None or _release(machine.cann) in accepted:
        return Finding("CANN", True, machine.cann)
    return Finding(
        "CANN",
        False,
        f"{machine.cann} does not go with MindSpore {machine.mindspore}, which takes {', '.join(accepted)}; install "
        "one of these and source its set_env.sh",
    )


def _driver(machine: AscendMachine) -> Finding:
    if machine.driver is None:
        return Finding("driver", True, f"{DRIVER_FILE} does not name a version")
    oldest = OLDEST_DRIVER.get(_release(machine.cann or ""))
    found = tuple(int(part) for part in machine.driver.split(".")[:2] if part.isdigit())
    if oldest is None or found >= oldest:
        return Finding("driver", True, machine.driver)
    wanted = ".".join(map(str, oldest))
    return Finding(
        "driver",
        False,
        f"{machine.driver} is too old for CANN {machine.cann}, which takes {wanted} or newer; update it",
    )


def _packages_text(missing: Iterable[str]) -> str:
    names = " ".join(missing)
    return f"CANN needs {names}; run `pip install {names}`, or install mnas[ascend]" if names else "all there"


def _module(name: str, machine: AscendMachine) -> Finding:
    error = machine.import_errors[name]
    if error is None:
        return Finding(name, True, "can be imported")
    return Finding(name, False, f"cannot be imported ({error}); {SET_ENVIRONMENT}, and install what it names")


def _devices(machine: AscendMachine) -> Finding:
    if machine.device_error is not None:
        return Finding(
            "devices",
            False,
            f"cannot be asked ({machine.device_error}); see whether `npu-smi info` lists them, and in a container "
            "whether /dev/davinci* and the driver are mounted",
        )
    if not machine.devices:
        return Finding("devices", False, "none; see ASCEND_RT_VISIBLE_DEVICES and `npu-smi info`")
    free = ", ".join(f"{each.free_gb:.1f} of {each.total_gb:.1f}" for each in machine.devices)
    return Finding("devices", True, f"{len(machine.devices)}; GB of memory free: {free}")


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "is not installed; run `pip install mnas`")


def _numpy() -> Finding:
    found = version("numpy")
    return Finding("numpy", found.startswith("1."), f"{found}; MindSpore needs one before 2: `pip install 'numpy<2'`")


def _release(full: str) -> str:
    return ".".join(full.split(".")[:2])
