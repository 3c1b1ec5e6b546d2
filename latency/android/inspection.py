"""What a phone says about itself.

Architecture, cores, Android version, free space, temperature.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from latency.adb.device import AdbDevice
from latency.errors import PhoneError
from latency.measurement.record import PhoneConditions

QUESTION_TIMEOUT_S = 20.0

# One script for all questions, since each call costs a round trip. Every answer is a line `key=value`; what a phone
# does not have or does not let the shell read stays empty. $1: the folder for the runtime.
_QUESTIONS = r"""
prop() { getprop "$1" 2>/dev/null; }
echo "abi=$(prop ro.product.cpu.abi)"
echo "model=$(prop ro.product.manufacturer) $(prop ro.product.model)"
echo "android=$(prop ro.build.version.release)"
echo "fingerprint=$(prop ro.build.fingerprint)"
echo "serial=$(prop ro.serialno)"
echo "machine=$(uname -m)"
echo "system=$(uname -sr)"
echo "processor=$(grep -m 1 -E '^(model name|Hardware)' /proc/cpuinfo)"
echo "boot_id=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
echo "allowed=$(grep Cpus_allowed_list /proc/self/status)"
for core in /sys/devices/system/cpu/cpu[0-9]*; do
    echo "max_khz=${core##*/cpu} $(cat "$core/cpufreq/cpuinfo_max_freq" 2>/dev/null)"
done
mkdir -p "$1" 2>/dev/null && test -w "$1" && echo "writable=yes"
echo "free=$(df -k "$1" 2>/dev/null | tail -n 1)"
for tool in timeout sha256sum mv df taskset; do
    command -v "$tool" >/dev/null 2>&1 || echo "missing=$tool"
done
"""

_CONDITIONS = r"""
command -v dumpsys >/dev/null 2>&1 || exit 0
dumpsys thermalservice 2>/dev/null | grep -m 1 'Thermal Status'
dumpsys battery 2>/dev/null | grep -E '^ *(level|temperature|AC powered|USB powered|Wireless powered):'
exit 0
"""

_ABIS = {"x86_64": "x86_64", "aarch64": "arm64-v8a", "arm64": "arm64-v8a"}


@dataclass(frozen=True)
class PhoneFacts:
    """What a phone says about itself.

    Attributes:
        serial: Serial number; None if the phone has none (adbd on Linux).
        model: Manufacturer and model, or the processor.
        abi: The ABI of its programs.
        android: Version; None if there is no Android.
        fingerprint: Android's build fingerprint, or processor and kernel.
        boot_id: The kernel's random id of this boot; None if unreadable.
        max_khz: Highest frequency of each core that the adb shell may use; None if unreadable.
        folder_writable: Whether the shell can write to the runtime's folder.
        free_mb: Free space in the runtime's folder; None if unreadable.
        missing_tools: Programs that the measurement needs and that the phone's shell does not have.
    """

    serial: str | None
    model: str
    abi: str
    android: str | None
    fingerprint: str
    boot_id: str | None
    max_khz: dict[int, int | None]
    folder_writable: bool
    free_mb: int | None
    missing_tools: tuple[str, ...]

    @property
    def cores(self) -> int:
        """How many cores the adb shell may use."""
        return len(self.max_khz)

    @property
    def big_core(self) -> int:
        """The fastest core; of equal ones the last, since the first get most interrupts."""
        return max(self.max_khz, key=lambda core: (self.max_khz[core] or 0, core))

    @property
    def is_this_machine(self) -> bool:
        """Whether the phone runs on the kernel that this program runs on."""
        try:
            return self.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return False


def inspect(device: AdbDevice, folder: str) -> PhoneFacts:
    """Ask a phone for its facts.

    Args:
        device: The connected phone.
        folder: The folder for the runtime; it is made if it does not exist.

    Raises:
        PhoneError: The kinds of the transport; `phone_unsupported`: the answers make no sense.
    """
    answer = device.shell(["sh", "-c", _QUESTIONS, "mnas", folder], timeout_s=QUESTION_TIMEOUT_S)
    facts = parse_facts(answer.stdout)
    if facts is None:
        raise PhoneError(
            "phone_unsupported",
            f"{device.serial}: the device's shell does not answer as Android's does: {answer.stdout[-300:]!r} "
            f"{answer.stderr[-300:]!r}",
        )
    return facts


def parse_facts(text: str) -> PhoneFacts | None:
    """Return the facts in the output of the questions; None if it is not that output."""
    lines = [line.strip().partition("=") for line in text.splitlines() if "=" in line]
    values = {key: value.strip() for key, _, value in lines}
    known_khz = dict(_core_frequency(value) for key, _, value in lines if key == "max_khz")
    allowed = _core_list(values.get("allowed", ""))
    max_khz = {core: known_khz.get(core) for core in sorted(allowed or known_khz)}
    machine = values.get("machine", "")
    if not machine or not max_khz:
        return None
    processor = values.get("processor", "").partition(":")[2].strip()
    return PhoneFacts(
        serial=values.get("serial") or None,
        model=values.get("model") or processor or machine,
        abi=values.get("abi") or _ABIS.get(machine, machine),
        android=values.get("android") or None,
        fingerprint=values.get("fingerprint") or f"{processor or machine}, {values.get('system', '')}",
        boot_id=values.get("boot_id") or None,
        max_khz=max_khz,
        folder_writable=values.get("writable") == "yes",
        free_mb=_free_mb(values.get("free", "")),
        missing_tools=tuple(value.strip() for key, _, value in lines if key == "missing"),
    )


def conditions(device: AdbDevice) -> PhoneConditions:
    """Ask how warm and how charged the phone is; None for what it does not tell.

    Raises:
        PhoneError: The kinds of the transport.
    """
    return parse_conditions(device.shell(["sh", "-c", _CONDITIONS], timeout_s=QUESTION_TIMEOUT_S).stdout)


def parse_conditions(text: str) -> PhoneConditions:
    r"""Return what `dumpsys thermalservice` and `dumpsys battery` say.

    >>> parse_conditions("Thermal Status: 1\n  level: 80\n  temperature: 312\n  USB powered: true")
    PhoneConditions(thermal_status=1, battery_temperature_c=31.2, battery_percent=80, charging=True)
    """
    thermal = re.search(r"Thermal Status: *(\d+)", text)
    level = re.search(r"^ *level: *(\d+)", text, re.MULTILINE)
    tenths = re.search(r"^ *temperature: *(-?\d+)", text, re.MULTILINE)
    powered = re.findall(r"powered: *(true|false)", text)
    return PhoneConditions(
        thermal_status=int(thermal[1]) if thermal else None,
        battery_temperature_c=int(tenths[1]) / 10 if tenths else None,
        battery_percent=int(level[1]) if level else None,
        charging="true" in powered if powered else None,
    )


def _core_frequency(text: str) -> tuple[int, int | None]:
    core, _, khz = text.partition(" ")
    return int(core), int(khz) if khz.strip().isdigit() else None


def _core_list(text: str) -> set[int]:
    """Return the cores of a kernel list such as `0-3,7`."""
    cores: set[int] = set()
    for part in text.partition(":")[2].strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            cores.update(range(int(first), int(last or first) + 1))
    return cores


def _free_mb(text: str) -> int | None:
    """Return the fourth column of `df -k`, in MB."""
    columns = text.split()
    return int(columns[3]) // 1024 if len(columns) > 3 and columns[3].isdigit() else None
