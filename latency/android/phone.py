"""An Android phone as a `PhoneBackend`.

Its steps: lease, connect, install, wait until cool, push, time, judge.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import PurePosixPath
from typing import Protocol

from latency.adb.address import Address
from latency.adb.connect import connect
from latency.adb.device import AdbDevice
from latency.android.inspection import PhoneFacts, inspect
from latency.android.installation import install, tidy
from latency.android.profile import PhoneProfile, PhoneUnit
from latency.android.program import ProgramRunner, program_file
from latency.android.runner_session import PhoneRunner, same_output
from latency.android.thermal import wait_until_cool
from latency.errors import CandidateError, PhoneError
from latency.host.expected_output import ExpectedOutput
from latency.host.quiet import Quiet
from latency.leases.adb_phone import hold_adb_phone
from latency.leases.between_processes import PhoneLeases, user_leases
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, PhoneIdentity, Session, model_sha256
from latency.runtime import RuntimeBundle, prepare_android_bundle, prepare_bundle
from latency.sessions import measure_sessions
from mnas.documents.user_paths import user_path

MODEL_PUSH_TIMEOUT_S = 300.0
REMOVE_TIMEOUT_S = 20.0
INSTALL_LEASE_S = 600.0


class SessionRunner(Protocol):
    """What times a model on a connected phone.

    `PhoneRunner`, or a program of the user's (`ProgramRunner`).
    """

    @property
    def device(self) -> AdbDevice:
        """The connected phone."""
        ...

    @property
    def folder(self) -> str:
        """Where it is on the phone."""
        ...

    @property
    def engine(self) -> str:
        """Name of the engine."""
        ...

    @property
    def engine_version(self) -> str:
        """Its version."""
        ...

    @property
    def runtime(self) -> str:
        """Hash of what is installed."""
        ...

    def model_file(self, model: bytes, timeout_s: float) -> bytes:
        """Return the file that is pushed for an ONNX model."""
        ...

    def session(
        self, model_path: str, settings: MeasurementSettings, reference_best_ms: float | None
    ) -> tuple[Session, float | None]:
        """Time one window.

        Returns:
            The window's session, and the best time of the reference network so far, in ms.
        """
        ...


def install_runner(device: AdbDevice, profile: PhoneProfile, on_push: Callable[[str], None]) -> SessionRunner:
    """Install what a profile needs on a connected phone; return its runner.

    Args:
        device: The connected phone.
        profile: Its profile.
        on_push: Called with the name of each file before it is pushed.

    Raises:
        PhoneError: As `install` does.
        ToolError: `runtime_unavailable`.
    """
    core, threads, program = profile.core, profile.threads, profile.benchmark
    if program is not None:
        file = program_file(program)
        folder = install(device, profile.folder, file.sha256, [file], on_push)
        return ProgramRunner(device, program, file, folder, core, threads)
    bundle = _bundle(profile)
    folder = install(device, profile.folder, bundle.digest, bundle.files, on_push)
    return PhoneRunner(device, bundle, folder, core, threads)


def _bundle(profile: PhoneProfile) -> RuntimeBundle:
    if profile.aar is not None:
        return prepare_bundle(profile.abi, user_path(profile.aar))
    return prepare_android_bundle(profile.abi) if profile.runtime == "bionic" else prepare_bundle(profile.abi)


class AdbPhone:
    """Times models on one unit of a profile; threads take turns.

    The connection is opened when it is first needed, and again after any failure of it. It is kept between
    measurements, but not over USB, where no other process could open the phone meanwhile.

    Args:
        profile: The model of phone.
        unit: The physical phone, one of the profile's.
        quiet: Makes the context in which the runner runs, on phones that share this machine only (see `HostPhone`). A
            real phone is not disturbed by what the host does.
        leases: The leases between processes; those of this user if None.
    """

    def __init__(
        self,
        profile: PhoneProfile,
        unit: PhoneUnit,
        quiet: Quiet = nullcontext,
        leases: PhoneLeases | None = None,
    ) -> None:
        several = len(profile.units) > 1
        self.name = f"{profile.name}/{unit.serial}" if several else profile.name
        self._profile = profile
        self._unit = unit
        self._address = Address.parse(unit.address)
        self._quiet = quiet if profile.shares_this_machine else nullcontext
        self._leases = leases or user_leases()
        self._lock = threading.Lock()
        self._host = ExpectedOutput()
        self._host_thread = ThreadPoolExecutor(1, thread_name_prefix="expected-output")
        self._device: AdbDevice | None = None
        self._fingerprint = ""
        self._runner: SessionRunner | None = None
        self._reference_best_ms: float | None = unit.reference_ms

    def identify(self) -> PhoneIdentity:
        """See `PhoneBackend`; the serial is the unit's own, not its address, which can change."""
        with self._lock, self._held(INSTALL_LEASE_S) as (runner, _):
            return self._identity(runner)

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """See `PhoneBackend`.

        Raises:
            PhoneError: The transport's kinds, `phone_unstable`, `phone_hot`, `phone_busy`, `wrong_output` (the phone
                computes something else than this host), `phone_changed` (another device answers at the address).
        """
        lease_s = settings.load_timeout_s + settings.window_timeout_s + settings.cooldown_s + REMOVE_TIMEOUT_S
        with self._lock, self._held(lease_s) as (runner, renew):
            return self._measure(runner, renew, model, settings)

    def close(self) -> None:
        """See `PhoneBackend`."""
        with self._lock:
            self._disconnect()
            self._host_thread.submit(self._host.close).result()

    @contextmanager
    def _held(self, lease_s: float) -> Iterator[tuple[SessionRunner, Callable[[], None]]]:
        """Hold the phone alone, with everything installed.

        The block gets the runner and what renews the lease.
        """
        with hold_adb_phone(
            self._leases,
            self._unit.serial,
            self._connection,
            self._profile.folder,
            INSTALL_LEASE_S if self._runner is None else lease_s,
        ) as (device, renew):
            if self._runner is None:
                self._runner = install_runner(device, self._profile, lambda name: None)
                tidy(device, self._profile.folder, self._runner.folder)
                renew(lease_s)
            yield self._runner, partial(renew, lease_s)

    @contextmanager
    def _connection(self) -> Iterator[AdbDevice]:
        """Connect to the phone unless it is connected."""
        keep = False
        try:
            if self._device is None:
                self._device = connect(self._address)
                facts = inspect(self._device, self._profile.folder)
                self._require_same_unit(facts)
                self._fingerprint = facts.fingerprint
            yield self._device
            keep = True
        except CandidateError:
            keep = True
            raise
        finally:
            # After any other error, and after Ctrl-C too, the next measurement starts from a fresh connection.
            if not keep or self._address.via == "usb":
                self._disconnect()

    def _disconnect(self) -> None:
        if self._device is not None:
            self._device.close()
        self._device = None
        self._runner = None

    def _require_same_unit(self, facts: PhoneFacts) -> None:
        if not self._unit.is_named(facts.serial):
            raise PhoneError(
                "phone_changed",
                f"phone {self.name!r}: device {facts.serial} answers at {self._unit.address}, not "
                f"{self._unit.serial}; connect the right one, or add this one: mnas phones add",
            )
        core = self._profile.core
        if core not in facts.max_khz:
            reason = (
                "is switched off or kept from the adb shell now; wake the phone (adb shell svc power stayon true)"
                if core in facts.hidden_khz
                else "is not there"
            )
            raise PhoneError(
                "core_unavailable",
                f"phone {self.name!r}: core {core} is not one of {sorted(facts.max_khz)} that the adb shell may use: "
                f"it {reason}, or change `core` in its profile",
            )

    def _identity(self, runner: SessionRunner) -> PhoneIdentity:
        return PhoneIdentity(
            name=self._profile.name,
            kind="adb",
            serial=self._unit.serial,
            fingerprint=self._fingerprint,
            engine=runner.engine,
            engine_version=runner.engine_version,
            runtime=runner.runtime,
            core=self._profile.core,
            threads=self._profile.threads,
        )

    def _measure(
        self, runner: SessionRunner, renew: Callable[[], None], model: bytes, settings: MeasurementSettings
    ) -> LatencyRecord:
        device = runner.device
        state = wait_until_cool(device, settings, renew)
        model_path = str(PurePosixPath(self._profile.folder) / f"model-{model_sha256(model)[:16]}.onnx")
        try:
            expected = self._push(runner, model, model_path, settings)

            def attempt(_: bool) -> Session:
                # Each run of the runner is a session of its own, whether it is the first or another try.
                renew()
                with self._quiet():
                    timed, self._reference_best_ms = runner.session(model_path, settings, self._reference_best_ms)
                self._require_same_output(timed, expected, settings)
                return timed

            return measure_sessions(
                attempt,
                model,
                self._identity(runner),
                settings,
                advice="Let it cool, close its apps, keep the screen off and the charger in, then try again; "
                "`mnas phones check` looks at each of these",
                conditions=state,
                scale=self._unit.scale,
            )
        finally:
            if not device.closed:
                device.shell(["rm", "-f", "--", model_path], timeout_s=REMOVE_TIMEOUT_S)

    def _push(
        self, runner: SessionRunner, model: bytes, model_path: str, settings: MeasurementSettings
    ) -> float | None:
        """Push the model, and return the checksum of this host's output for it.

        The host runs the model during the push, not while it is timed: the phone may be this machine.

        Raises:
            CandidateError: The host's engine does not take or run the model.
            PhoneError: The kinds of the transport.
        """
        expected = self._host_thread.submit(self._host.checksum, model, settings)
        try:
            model_file = runner.model_file(model, settings.load_timeout_s)
            runner.device.push(model_file, model_path, timeout_s=MODEL_PUSH_TIMEOUT_S)
        finally:
            wait([expected])
        return expected.result()

    def _require_same_output(self, timed: Session, expected: float | None, settings: MeasurementSettings) -> None:
        if timed.loaded is not None and not same_output(timed.loaded.output_checksum, expected, settings):
            raise PhoneError(
                "wrong_output",
                f"phone {self.name!r}: its output has the checksum {timed.loaded.output_checksum}, this host's has "
                f"{expected}; a phone that computes something else has not timed this model. Add it again to renew its "
                "runtime",
            )
