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
RUNTIME_KEPT_S = 86_400
"""How long another session's runtime stays after its last use; the session marks it in every run."""

# The phone's own clock, which nobody sets.
_CLOCK = """
{ read -r boot < /proc/sys/kernel/random/boot_id; } 2>/dev/null || boot=unknown
read -r now _ < /proc/uptime
"""
MARK_USED = f"""{_CLOCK}echo "$boot ${{now%%.*}}" > "$1/used"
"""
"""Shell lines that say in the runtime's folder, $1, that it is used now: the boot, and its seconds."""
_PREPARE = f'mkdir -p "$1" && chmod 700 "$1" || exit 1{MARK_USED}exit 0'
# What a killed run has left: models, which nobody needs who does not hold the lease, and other runtimes that nobody has
# used for a day or since the phone was started. A runner that still works in such a runtime would disturb: it is ended.
# $1: the folder, $2: the name of our own runtime, $3: the seconds of a day.
_TIDY = f"""
cd "$1" || exit 1{_CLOCK}
rm -f model-*.onnx model-*.part
for runtime in runtime-*; do
    test -d "$runtime" && test "$runtime" != "$2" || continue
    last= at=0
    test -f "$runtime/used" && read -r last at < "$runtime/used"
    case $at in '' | *[!0-9]* | 0?*) last= ;; esac
    test "$last" = "$boot" && test $((${{now%%.*}} - at)) -lt "$3" && continue
    if test -f "$runtime/runner.pid" && read -r pid < "$runtime/runner.pid" &&
        grep -q mnas_runner "/proc/$pid/cmdline" 2>/dev/null; then
        kill -9 "$pid"
    fi
    rm -rf "$runtime"
done
exit 0
"""
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
    if made.failed:
        raise PhoneError(
            "phone_unsupported",
            f"{device.serial}: cannot make {target} ({made.last_words}); name a folder that the adb shell may "
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


def tidy(device: AdbDevice, folder: str, runtime: str) -> None:
    """Remove what killed runs have left: models, and runtimes that are no longer used.

    The caller holds the lease on the phone: no other session has a model there, and each renews its runtime's mark.

    Args:
        device: The connected phone.
        folder: Where on the phone the runtimes are.
        runtime: The folder of the runtime in use, which stays.

    Raises:
        PhoneError: The kinds of the transport.
    """
    name = PurePosixPath(runtime).name
    device.shell(["sh", "-c", _TIDY, "mnas", folder, name, str(RUNTIME_KEPT_S)], timeout_s=HASH_TIMEOUT_S)


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
