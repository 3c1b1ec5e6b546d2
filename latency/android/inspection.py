"""What a phone says about itself.

Architecture, cores, Android version, free space, temperature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from latency.adb.device import AdbDevice
from latency.errors import PhoneError
from latency.measurement.record import PhoneConditions

QUESTION_TIMEOUT_S = 20.0

MAX_CORES = 4096
"""More than any phone or server has; the kernel's own bound."""

# One script for all questions, since each call costs a round trip. Every answer is a line `key=value`; what a phone
# does not have or does not let the shell read stays empty. $1: the folder for the runtime. Whether it can be used is
# tried: a folder may be writable on a file system that runs no programs, or be closed to them by SELinux.
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
for list in present online; do
    echo "$list=$(cat /sys/devices/system/cpu/$list 2>/dev/null)"
done
for core in /sys/devices/system/cpu/cpu[0-9]*; do
    test -d "$core" || continue
    echo "max_khz=${core##*/cpu} $(cat "$core/cpufreq/cpuinfo_max_freq" 2>/dev/null)"
done
if mkdir -p "$1" 2>/dev/null && test -w "$1"; then
    echo "writable=yes"
    trial=$1/try-$$
    echo "exit 0" > "$trial" && chmod 700 "$trial" && "$trial" 2>/dev/null && echo "runnable=yes"
    rm -f "$trial"
fi
echo "free=$(df -k "$1" 2>/dev/null | tail -n 1)"
test -e /system/bin/linker64 && echo "linker=yes"
for tool in timeout sha256sum mv df taskset; do
    command -v "$tool" >/dev/null 2>&1 || echo "missing=$tool"
done
exit 0
"""

_CONDITIONS = r"""
command -v dumpsys >/dev/null 2>&1 || exit 0
dumpsys thermalservice 2>/dev/null | grep -m 1 'Thermal Status'
dumpsys battery 2>/dev/null | grep -E '^ *(level|temperature|AC powered|USB powered|Wireless powered):'
echo "battery saver: $(settings get global low_power 2>/dev/null)"
exit 0
"""

_ABIS = {"x86_64": "x86_64", "aarch64": "arm64-v8a", "arm64": "arm64-v8a"}


_SHOWN = 200
"""Characters of an answer that an error shows."""
_MAX_TEXT = 500
_MAX_ANSWER = 1 << 20
_MAX_DIGITS = 12
_CORE = re.compile(r"[0-9]{1,4}")
_KHZ = re.compile(r"[0-9]{1,9}")
_RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
# Size, used, available in kB, and the share that is used: the device before them may hold spaces.
_DF = re.compile(r"(?:^|\s)[0-9]{1,18}\s+-?[0-9]{1,18}\s+(-?[0-9]{1,18})\s+(?:[0-9]{1,3}%|-)")


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
        max_khz: Highest frequency of each core that the adb shell may use now; None if unreadable.
        hidden_khz: The same of the phone's other cores, which are switched off or kept from the adb shell.
        folder_writable: Whether the shell can write to the runtime's folder.
        folder_runnable: Whether it can run a program there.
        has_bionic: Whether the phone has the loader of Android's 64-bit programs.
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
    hidden_khz: dict[int, int | None]
    folder_writable: bool
    folder_runnable: bool
    has_bionic: bool
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
    def hidden_big_cores(self) -> list[int]:
        """The cores that cannot be used now and may be faster than those that can.

        A core that is switched off tells no frequency. It counts if the others tell theirs.
        """
        best_khz = max((khz or 0 for khz in self.max_khz.values()), default=0)
        if best_khz == 0:
            return []
        return sorted(core for core, khz in self.hidden_khz.items() if khz is None or khz > best_khz)

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
        PhoneError: The kinds of the transport; `phone_unsupported`: an answer makes no sense.
    """
    answer = device.shell(["sh", "-c", _QUESTIONS, "mnas", folder], timeout_s=QUESTION_TIMEOUT_S)
    try:
        return parse_facts(answer.stdout)
    except ValueError as error:
        words = answer.stderr.strip()[-_SHOWN:]
        raise PhoneError(
            "phone_unsupported",
            f"{device.serial}: {error}{f' ({words!r})' if words else ''}; is it an Android phone, and awake?",
        ) from error


def parse_facts(text: str) -> PhoneFacts:
    """Return the facts in the output of the questions.

    Raises:
        ValueError: A fact that a phone must have is missing, or one makes no sense; the message names it.
    """
    _check_length(text)
    lines = [line.strip().partition("=") for line in text.splitlines() if "=" in line]
    values = {key: value.strip() for key, _, value in lines}
    known_khz = dict(_core_frequency(value.strip()) for key, _, value in lines if key == "max_khz")
    allowed = _core_list("the cores that the adb shell may use", values.get("allowed", "").partition(":")[2].strip())
    online = _core_list("the cores that are online", values.get("online", ""))
    present = _core_list("the cores that are present", values.get("present", ""))
    usable = (allowed or set(known_khz)) & (online or allowed or set(known_khz))
    machine = _text(values, "machine", "the machine (uname -m)")
    if not machine:
        raise ValueError(f"the device's shell does not answer as Android's does: {text[-_SHOWN:]!r}")
    if not usable:
        raise ValueError("no core that the adb shell may use is known")
    processor = _text(values, "processor", "the processor (/proc/cpuinfo)").partition(":")[2].strip()
    system = _text(values, "system", "the kernel (uname -sr)")
    return PhoneFacts(
        serial=_text(values, "serial", "the serial number (ro.serialno)") or None,
        model=_text(values, "model", "the model (ro.product.model)") or processor or machine,
        abi=_text(values, "abi", "the ABI (ro.product.cpu.abi)") or _ABIS.get(machine, machine),
        android=_text(values, "android", "Android's version (ro.build.version.release)") or None,
        fingerprint=_text(values, "fingerprint", "the build (ro.build.fingerprint)")
        or f"{processor or machine}, {system}",
        boot_id=_text(values, "boot_id", "the id of the boot (/proc/sys/kernel/random/boot_id)") or None,
        max_khz={core: known_khz.get(core) for core in sorted(usable)},
        hidden_khz={core: known_khz.get(core) for core in sorted((present or set(known_khz)) - usable)},
        folder_writable=values.get("writable") == "yes",
        folder_runnable=values.get("runnable") == "yes",
        has_bionic=values.get("linker") == "yes",
        free_mb=_free_mb(values.get("free", "")),
        missing_tools=tuple(value.strip()[:_SHOWN] for key, _, value in lines if key == "missing"),
    )


def conditions(device: AdbDevice) -> PhoneConditions:
    """Ask how warm and how charged the phone is; None for what it does not tell.

    Raises:
        PhoneError: The kinds of the transport; `phone_unsupported`: an answer makes no sense.
    """
    answer = device.shell(["sh", "-c", _CONDITIONS], timeout_s=QUESTION_TIMEOUT_S)
    try:
        return parse_conditions(answer.stdout)
    except ValueError as error:
        raise PhoneError("phone_unsupported", f"{device.serial}: {error}; restart the phone") from error


def parse_conditions(text: str) -> PhoneConditions:
    r"""Return what `dumpsys thermalservice` and `dumpsys battery` say.

    >>> parse_conditions("Thermal Status: 1\n  level: 80\n  temperature: 312\n  USB powered: true")
    PhoneConditions(thermal_status=1, battery_temperature_c=31.2, battery_percent=80, charging=True, battery_saver=None)
    """
    _check_length(text)
    tenths = _number(text, r"^ *temperature: *(-?\d+)", "the battery's temperature in 0.1 °C", -1000, 2000)
    saver = re.search(r"^battery saver: *([01])\b", text, re.MULTILINE)
    powered = re.findall(r"powered: *(true|false)", text)
    return PhoneConditions(
        thermal_status=_number(text, r"Thermal Status: *(-?\d+)", "the thermal status", 0, 6),
        battery_temperature_c=None if tenths is None else tenths / 10,
        battery_percent=_number(text, r"^ *level: *(-?\d+)", "the battery's level in percent", 0, 100),
        charging="true" in powered if powered else None,
        battery_saver=saver[1] == "1" if saver else None,
    )


def _check_length(text: str) -> None:
    if len(text) > _MAX_ANSWER:
        raise ValueError(f"the answer to the questions has {len(text)} characters; it must have {_MAX_ANSWER} at most")


def _number(text: str, pattern: str, fact: str, lowest: int, highest: int) -> int | None:
    found = re.search(pattern, text, re.MULTILINE | re.ASCII)
    if found is None:
        return None
    if len(found[1]) > _MAX_DIGITS or not lowest <= int(found[1]) <= highest:
        raise ValueError(f"{fact} is {found[1][:_SHOWN]}; it must be from {lowest} to {highest}")
    return int(found[1])


def _text(values: Mapping[str, str], key: str, fact: str) -> str:
    text = values.get(key, "").replace("\t", " ")  # /proc/cpuinfo has them.
    if len(text) > _MAX_TEXT or not text.isprintable():
        raise ValueError(f"{fact} is {text[:_SHOWN]!r}; it must be printable, of at most {_MAX_TEXT} characters")
    return text


def _core_frequency(text: str) -> tuple[int, int | None]:
    """Return the core and its highest frequency in kHz of `7 2802000`."""
    core, _, khz = text.partition(" ")
    if not _CORE.fullmatch(core) or int(core) >= MAX_CORES:
        raise ValueError(f"a core under /sys/devices/system/cpu has the number {core[:_SHOWN]!r}")
    khz = khz.strip()
    if not khz:
        return int(core), None
    if not _KHZ.fullmatch(khz):
        raise ValueError(f"the highest frequency of core {core} (cpuinfo_max_freq) is {khz[:_SHOWN]!r}, not a number")
    return int(core), int(khz)


def _core_list(fact: str, text: str) -> set[int]:
    """Return the cores of a kernel list such as `0-3,7`; none if it is empty.

    Raises:
        ValueError: It is no such list, or it has cores that no phone has.
    """
    cores: set[int] = set()
    for part in text.split(",") if text else ():
        numbers = _RANGE.fullmatch(part)
        if numbers is None or not int(numbers[1]) <= int(numbers[2] or numbers[1]) < MAX_CORES:
            raise ValueError(f"{fact} are {text[:_SHOWN]!r}; that is no list of cores below {MAX_CORES}")
        cores.update(range(int(numbers[1]), int(numbers[2] or numbers[1]) + 1))
    return cores


def _free_mb(text: str) -> int | None:
    """Return the fourth column of `df -k`, in MB; None if there is no answer."""
    if not text:
        return None
    columns = _DF.search(text)
    if columns is None:
        raise ValueError(f"the free space (df) is {text[:_SHOWN]!r}; it must have sizes in kB")
    return max(0, int(columns[1])) // 1024
