"""The runtime on the phone.

It is pushed once, verified by hash, and kept in a folder named after its contents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from latency.adb.device import AdbDevice
from latency.errors import PhoneError
from latency.measurement.reference_network import reference_model
from latency.runtime import BundleFile

PUSH_TIMEOUT_S = 300.0
HASH_TIMEOUT_S = 60.0
REFERENCE_NAME = "reference.onnx"

_PREPARE = 'mkdir -p "$1" && chmod 700 "$1"'
# A missing file gives no line, which is an answer too.
_HASHES = 'cd "$1" && shift && sha256sum "$@" 2>/dev/null; exit 0'
# Only what mnas has put there: the folder may hold other things of the user's.
_REMOVE = 'cd "$1" && rm -rf runtime-* model-*.onnx model-*.part lease lease.lock && rmdir "$1" 2>/dev/null; exit 0'


def install(
    device: AdbDevice,
    folder: str,
    digest: str,
    files: Sequence[BundleFile],
    on_push: Callable[[str], None] = lambda name: None,
) -> str:
    """Put the files on the phone, each with its right hash.

    Push only what is missing or different.

    Args:
        device: The connected phone.
        folder: Where on the phone the runtimes are.
        digest: Hash over all files.
        files: The files.
        on_push: Called with the name of each file before it is pushed.

    Returns:
        The folder of the files, which is named after `digest`.

    Raises:
        PhoneError: The kinds of the transport. `phone_unsupported`: the folder cannot be used. `push_failed`: a file
            does not arrive as it was sent.
    """
    target = str(PurePosixPath(folder) / f"runtime-{digest[:16]}")
    made = device.shell(["sh", "-c", _PREPARE, "mnas", target], timeout_s=HASH_TIMEOUT_S)
    if made.status != 0:
        raise PhoneError(
            "phone_unsupported",
            f"{device.serial}: cannot make {target} ({made.stderr.strip()}); name a folder that the adb shell may "
            "write to and run programs from: mnas phones add --folder",
        )
    wanted = {file.name: file.sha256 for file in files}
    present = _hashes(device, target, list(wanted))
    for file in files:
        if present.get(file.name) != file.sha256:
            on_push(file.name)
            remote_path = str(PurePosixPath(target) / file.name)
            device.push(file.path, remote_path, executable=file.executable, timeout_s=PUSH_TIMEOUT_S)
    device.push(reference_model(), str(PurePosixPath(target) / REFERENCE_NAME), timeout_s=PUSH_TIMEOUT_S)
    if present != wanted and (wrong := _differing(_hashes(device, target, list(wanted)), wanted)):
        raise PhoneError(
            "push_failed",
            f"{device.serial}: {', '.join(wrong)} did not arrive as sent in {target}; check the cable and the free "
            "space, then try again",
        )
    return target


def uninstall(device: AdbDevice, folder: str) -> None:
    """Remove everything that mnas has put on the phone.

    Raises:
        PhoneError: The kinds of the transport.
    """
    device.shell(["sh", "-c", _REMOVE, "mnas", folder], timeout_s=HASH_TIMEOUT_S)


def _hashes(device: AdbDevice, folder: str, names: list[str]) -> dict[str, str]:
    answer = device.shell(["sh", "-c", _HASHES, "mnas", folder, *names], timeout_s=HASH_TIMEOUT_S)
    lines = [line.split(maxsplit=1) for line in answer.stdout.splitlines()]
    return {parts[1].strip().lstrip("*"): parts[0] for parts in lines if len(parts) == 2}


def _differing(present: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return [name for name, sha256 in wanted.items() if present.get(name) != sha256]
