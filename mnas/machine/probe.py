"""A process that looks at an Ascend machine: `python -m mnas.machine.probe MODULE ...`.

It imports modules of CANN, asks the driver for the devices and their memory, and prints one line of JSON that starts
with `PREFIX`. It is a process of its own because CANN may print, hang or crash, and because a process that has opened a
device keeps memory on it. It has not been run on a machine with an NPU.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

PREFIX = "mnas probe: "
_HBM = 1  # ACL_HBM_MEM, the memory of an NPU


def import_error(module: str) -> str | None:
    """Return why a module cannot be imported, None if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # those of CANN raise whatever their imports raise
        return f"{type(error).__name__}: {error}"
    return None


def devices(acl: Any) -> list[dict[str, int]]:
    """Return free and total memory in bytes of each device that this process may use.

    Args:
        acl: CANN's module of this name. Its functions return an error code, 0 for none, as their last value.

    Raises:
        RuntimeError: CANN answers with an error code.
    """
    _check("acl.init", acl.init())
    try:
        count, code = acl.rt.get_device_count()
        _check("acl.rt.get_device_count", code)
        return [_memory(acl, device) for device in range(count)]
    finally:
        acl.finalize()


def _memory(acl: Any, device: int) -> dict[str, int]:
    _check(f"acl.rt.set_device({device})", acl.rt.set_device(device))
    try:
        free, total, code = acl.rt.get_mem_info(_HBM)
        _check("acl.rt.get_mem_info", code)
    finally:
        acl.rt.reset_device(device)
    return {"free_bytes": int(free), "total_bytes": int(total)}


def _check(call: str, code: int) -> None:
    if code:
        raise RuntimeError(f"{call} returned {code}")


def main(modules: list[str]) -> None:
    """Print what was found."""
    found: dict[str, Any] = {"imports": {module: import_error(module) for module in modules}, "devices": []}
    found["device_error"] = found["imports"].get("acl")
    if found["device_error"] is None:
        try:
            found["devices"] = devices(importlib.import_module("acl"))
        except Exception as error:
            found["device_error"] = f"{type(error).__name__}: {error}"
    print(PREFIX + json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
