"""An Android phone as a `Phone`: connect, install, lease, gate, push, time, judge."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from latency.adb.address import Address
from latency.adb.connect import connect
from latency.adb.device import AdbDevice
from latency.android.inspection import PhoneFacts, inspect
from latency.android.installation import install
from latency.android.profile import PhoneProfile, PhoneUnit
from latency.android.program import ProgramRunner, program_file
from latency.android.runner_session import PhoneRunner, same_output
from latency.android.thermal import wait_until_cool
from latency.errors import CandidateError, PhoneError
from latency.host.expected_output import ExpectedOutput
from latency.host.quiet import Quiet
from latency.leases.on_phone import leased
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, PhoneIdentity, Session, model_sha256
from latency.runtime import prepare_bundle
from latency.sessions import measure_sessions

MODEL_PUSH_TIMEOUT_S = 300.0
REMOVE_TIMEOUT_S = 20.0
LEASE_WAIT_S = 600.0
INSTALL_LEASE_S = 600.0


class SessionRunner(Protocol):
    """What times a model on a connected phone: `PhoneRunner`, or a program of the user's."""

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
        """A hash of what is installed."""
        ...

    def model_file(self, model: bytes, timeout_s: float) -> bytes:
        """Return the file that is pushed for an ONNX model."""
        ...

    def session(
        self, model_path: str, settings: MeasurementSettings, reference_best_ms: float | None
    ) -> tuple[Session, float | None]:
        """Time one window; return it with the best of the reference network so far."""
        ...


@dataclass(frozen=True)
class PreparedDevice:
    """What one connection has established: who answers, and what is installed there."""

    device: AdbDevice
    facts: PhoneFacts
    runner: SessionRunner


def prepare(
    device: AdbDevice, profile: PhoneProfile, facts: PhoneFacts, on_push: Callable[[str], None]
) -> PreparedDevice:
    """Install what a profile needs on a connected phone.

    Raises PhoneError as `install` does, ToolError (`runtime_unavailable`).
    """
    core, threads, program = profile.core, profile.threads, profile.benchmark
    if program is not None:
        file = program_file(program)
        folder = install(device, profile.folder, file.sha256, [file], on_push)
        return PreparedDevice(device, facts, ProgramRunner(device, program, file, folder, core, threads))
    bundle = prepare_bundle(profile.abi, None if profile.aar is None else Path(profile.aar).expanduser())
    folder = install(device, profile.folder, bundle.digest, bundle.files, on_push)
    return PreparedDevice(device, facts, PhoneRunner(device, bundle, folder, core, threads))


class AdbPhone:
    """Times models on one unit of a profile; threads take turns.

    The connection is opened when it is first needed and opened anew after any failure of it. `quiet` makes the context
    in which the runner runs, on phones that share this machine only (see `HostPhone`); a real phone does not mind what
    the host does.
    """

    def __init__(self, profile: PhoneProfile, unit: PhoneUnit, quiet: Quiet = nullcontext) -> None:
        several = len(profile.units) > 1
        self.name = f"{profile.name}/{unit.serial}" if several else profile.name
        self._profile = profile
        self._unit = unit
        self._quiet = quiet if profile.shares_this_machine else nullcontext
        self._lock = threading.Lock()
        self._host = ExpectedOutput()
        self._host_thread = ThreadPoolExecutor(1, thread_name_prefix="host-answer")
        self._connected: PreparedDevice | None = None
        self._reference_best_ms: float | None = unit.reference_ms

    def identify(self) -> PhoneIdentity:
        """See `Phone`; the serial is the device's own, not its address, which can change."""
        with self._lock:
            return self._identity(self._connect())

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """See `Phone`.

        PhoneError kinds besides the transport's: `phone_unstable`, `phone_hot`, `phone_busy`, `wrong_output` where the
        phone computes something else than this host, `phone_changed` where another device answers at the address.
        """
        with self._lock:
            connected = self._connect()
            try:
                return self._measure(connected, model, settings)
            except CandidateError:
                raise
            except BaseException:
                # Whatever went wrong, and Ctrl-C too: the next measurement starts from a fresh connection.
                self._disconnect()
                raise

    def close(self) -> None:
        """See `Phone`."""
        with self._lock:
            self._disconnect()
            self._host_thread.submit(self._host.close).result()

    def _disconnect(self) -> None:
        if self._connected is not None:
            self._connected.device.close()
            self._connected = None

    def _connect(self) -> PreparedDevice:
        if self._connected is not None and self._connected.device.closed:
            self._connected = None
        if self._connected is None:
            device = connect(Address.parse(self._unit.address))
            try:
                facts = inspect(device, self._profile.folder)
                self._require_same_device(device, facts)
                # Not while another host measures there, nor while it installs.
                with leased(device, self._profile.folder, duration_s=INSTALL_LEASE_S, wait_s=LEASE_WAIT_S):
                    self._connected = prepare(device, self._profile, facts, lambda name: None)
            except BaseException:
                device.close()
                raise
        return self._connected

    def _require_same_device(self, device: AdbDevice, facts: PhoneFacts) -> None:
        if (facts.serial or self._unit.serial) != self._unit.serial:
            raise PhoneError(
                "phone_changed",
                f"phone {self.name!r}: device {facts.serial} answers at {self._unit.address}, not "
                f"{self._unit.serial}; connect the right one, or add this one: mnas phones add",
            )
        if self._profile.core not in facts.max_khz:
            raise PhoneError(
                "core_unavailable",
                f"phone {self.name!r}: core {self._profile.core} is not one of {sorted(facts.max_khz)} that the adb "
                "shell may use; change `core` in its profile",
            )

    def _identity(self, connected: PreparedDevice) -> PhoneIdentity:
        return PhoneIdentity(
            name=self._profile.name,
            kind="adb",
            serial=self._unit.serial,
            fingerprint=connected.facts.fingerprint,
            engine=connected.runner.engine,
            engine_version=connected.runner.engine_version,
            runtime=connected.runner.runtime,
            core=self._profile.core,
            threads=self._profile.threads,
        )

    def _measure(self, connected: PreparedDevice, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        device, folder = connected.device, self._profile.folder
        attempt_s = settings.load_timeout_s + settings.window_timeout_s + settings.cooldown_s
        with leased(device, folder, duration_s=attempt_s + REMOVE_TIMEOUT_S, wait_s=LEASE_WAIT_S) as renew:
            state = wait_until_cool(device, settings, renew)
            model_path = str(PurePosixPath(folder) / f"model-{model_sha256(model)[:16]}.onnx")
            try:
                expected = self._push(connected, model, model_path, settings)

                def attempt(_: bool) -> Session:
                    # A run of the runner is a session of its own, whether it is the first or another try.
                    renew()
                    with self._quiet():
                        timed, self._reference_best_ms = connected.runner.session(
                            model_path, settings, self._reference_best_ms
                        )
                    self._require_same_output(timed, expected, settings)
                    return timed

                return measure_sessions(
                    attempt,
                    model,
                    self._identity(connected),
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
        self, connected: PreparedDevice, model: bytes, model_path: str, settings: MeasurementSettings
    ) -> float | None:
        """Push the model, and return the checksum of the host's output for it.

        The host runs it meanwhile, not while it is timed: the phone may be this machine. Raises CandidateError where
        the host's engine does not take or run the model, and the transport's PhoneError.
        """
        expected = self._host_thread.submit(self._host.checksum, model, settings)
        try:
            model_file = connected.runner.model_file(model, settings.load_timeout_s)
            connected.device.push(model_file, model_path, timeout_s=MODEL_PUSH_TIMEOUT_S)
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
