"""Phone profiles: what a host knows of a model of phone.

Each is one YAML file, written by `mnas phones add`.

A profile describes a model of phone, of which there may be several units (`devices` in the file). An unknown model
needs no code: everything that differs between phones is in its profile.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from latency.adb.address import Address
from latency.errors import PhoneUnknownError, ProfileError
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import PhoneConditions
from latency.user_folders import profile_folder
from mnas.documents.errors import DocumentError
from mnas.documents.yaml_file import dump, read

DEFAULT_FOLDER = "/data/local/tmp/mnas"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Milliseconds = Annotated[float, Meta(gt=0, le=1e6)]


class PhoneUnit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One physical phone of a profile.

    Attributes:
        serial: Its own serial number; with `@` and the port if several phones have one serial number.
        address: How it is reached: `tcp:HOST:PORT`, `usb:SERIAL`, or `server:SERIAL` through the host's adb server.
        reference_ms: Best time of the reference network on its core; every window is compared with it.
        calibration_ms: Latencies of the calibration networks, in order, when it was added.
        scale: What its latencies are multiplied by to be those of the first unit of the profile.
        fingerprint: What ran there when `reference_ms` was found: Android's build fingerprint, or processor and kernel.
            After an update the reference is found again.
        conditions: How warm and how charged it was when it was added, as far as it tells.
        slow_when_added: Why nothing measured with this profile counts: the phone has been clearly faster since than
            when it was added. Add it again.
    """

    serial: str
    address: str
    reference_ms: Milliseconds
    calibration_ms: tuple[Milliseconds, ...]
    scale: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    fingerprint: str | None = None
    conditions: PhoneConditions | None = None
    slow_when_added: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if the address is not one."""
        Address.parse(self.address)

    def is_named(self, serial: str | None) -> bool:
        """Return whether a device that calls itself `serial` can be this one; None says nothing against it."""
        return serial is None or serial in (self.serial, self.serial.rpartition("@")[0])


class BenchmarkProgram(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A benchmark program of the user's own, instead of mnas's runner.

    Such a program shows neither CPU times nor outputs. Contention and wrong results go unnoticed; the record shows it
    by what it lacks.

    Attributes:
        program: The binary on this host, built for the phone.
        command: Its argument list on the phone; `{program}`, `{model}`, `{core}`, `{threads}` and `{runs}` are filled
            in.
        pattern: A regular expression; its group `time` is matched in the output once for each time.
        unit: The unit of the matched times.
        convert: An argument list that runs on this host first and turns `{onnx}` into the file `{out}`, for programs
            that take another format; empty if they take ONNX.
    """

    program: str
    command: tuple[str, ...]
    pattern: str
    unit: Literal["ns", "us", "ms", "s"]
    convert: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError if the command or the pattern cannot work."""
        if "{model}" not in " ".join(self.command):
            raise ValueError("`command` does not name `{model}`; without it the program cannot time the network")
        try:
            groups = re.compile(self.pattern).groupindex
        except re.error as error:
            raise ValueError(f"`pattern` is no regular expression: {error}") from error
        if "time" not in groups:
            raise ValueError("`pattern` has no group `(?P<time>...)`, which must match one time")


class PhoneProfile(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"units": "devices"},
):
    """A model of phone.

    Attributes:
        name: What the user calls it; the name of the file.
        model: Manufacturer and model.
        abi: The ABI of its programs.
        core: The core that is timed, the fastest one unless chosen.
        units: The phones of this model, at least one; `devices` in the file.
        android: Version of Android; None if there is no Android (adbd on Linux).
        threads: Threads of the engine.
        folder: Where the runtime is on the phone; the adb shell must be allowed to run programs there.
        shares_this_machine: Whether the "phone" runs on this very machine, so that work here disturbs it.
        runtime: What the engine runs on: `bionic`, Android's own C library, with ONNX Runtime's official Android build;
            or `glibc`, the C library of ONNX Runtime's Linux wheel, which is pushed with it.
        aar: The file of another official Android build, for `bionic`; None for the one that mnas fetches.
        measurement: Changes to the measurement protocol (see `latency/measurement/protocol.py`).
        benchmark: A benchmark program of the user's own; None for the runner that comes with mnas.
        shapes: Shapes of inputs with open dimensions, by the input's name, for `mnas phones measure`: they hold for
            every model that leaves such an input open, unless `--shape` gives another.
    """

    name: str
    model: str
    abi: str
    core: Annotated[int, Meta(ge=0, le=4095)]
    units: Annotated[tuple[PhoneUnit, ...], Meta(min_length=1)]
    android: str | None = None
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    folder: str = DEFAULT_FOLDER
    shares_this_machine: bool = False
    runtime: Literal["bionic", "glibc"] = "glibc"
    aar: str | None = None
    measurement: dict[str, int | float] = {}
    benchmark: BenchmarkProgram | None = None
    shapes: dict[str, tuple[Annotated[int, Meta(ge=1, le=2**31 - 1)], ...]] = {}

    def __post_init__(self) -> None:
        """Raise ValueError for a relative folder or settings out of range."""
        if not self.folder.startswith("/"):
            raise ValueError(f"`folder` is {self.folder!r}; it must start with /")
        try:
            self.settings({})
        except TypeError as error:
            raise ValueError(f"`measurement`: {error}") from error

    def settings(self, changes: Mapping[str, Any]) -> MeasurementSettings:
        """Return the measurement protocol of this phone, with changes.

        Raises:
            ValueError: A value is out of its range.
            TypeError: A change names no field.
        """
        values: dict[str, Any] = {**self.measurement, **changes}
        return MeasurementSettings(**values)


def profile_path(name: str) -> Path:
    """Return the file of a profile.

    Raises:
        PhoneUnknownError: No phone can have that name.
    """
    if not _NAME.fullmatch(name) or name == "host":
        raise PhoneUnknownError(
            f"{name!r} cannot be the name of a phone: up to 64 letters, digits, dots, dashes and underlines, and not "
            "`host`, which is this machine",
        )
    return profile_folder() / f"{name}.yaml"


def profile_names() -> list[str]:
    """Return the names of the phones that were added, sorted."""
    return sorted(path.stem for path in profile_folder().glob("*.yaml"))


def read_profile(name: str) -> PhoneProfile:
    """Return the profile of that name.

    Raises:
        PhoneUnknownError: No phone has that name.
        ProfileError: The file cannot be used.
    """
    path = profile_path(name)
    if not path.exists():
        known = ", ".join(["host (this machine)", *profile_names()])
        raise PhoneUnknownError(f"no phone is called {name!r}; known: {known}. Add it: mnas phones add {name} --help")
    try:
        profile = read(path, PhoneProfile)
    except DocumentError as error:
        raise ProfileError(f"{error}; fix it, or add the phone again") from error
    if profile.name != name:
        raise ProfileError(f"{path}: its name is {profile.name!r}; it must be that of the file")
    return profile


def write_profile(profile: PhoneProfile) -> Path:
    """Write a profile, whole or not at all, and return its file.

    An older one is replaced.

    Raises:
        ProfileError: The file cannot be written.
    """
    path = profile_path(profile.name)
    text = dump(msgspec.to_builtins(profile))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A private folder: nobody else can have put a link there, and two commands do not share a draft.
        with tempfile.TemporaryDirectory(prefix=f".{profile.name}-", dir=path.parent) as folder:
            draft = Path(folder, path.name)
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
    except OSError as error:
        raise ProfileError(
            f"{path}: cannot be written ({error.strerror or error}); make room there, or set MNAS_PHONES to another "
            "folder"
        ) from error
    return path


def update_unit(profile: PhoneProfile, unit: PhoneUnit) -> None:
    """Write a unit's new facts into the profile's file, unless the phone was removed or added again meanwhile.

    A profile that cannot be written stays as it is: what was learnt holds for this process.
    """
    try:
        current = read_profile(profile.name)
    except (PhoneUnknownError, ProfileError):
        return
    known = {each.serial: each for each in profile.units}
    if not any(each == known.get(unit.serial) for each in current.units if each.serial == unit.serial):
        return
    units = tuple(unit if each.serial == unit.serial else each for each in current.units)
    with suppress(OSError):
        write_profile(msgspec.structs.replace(current, units=units))
