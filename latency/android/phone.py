"""An Android phone as a `PhoneBackend`.

Its steps: lease, connect, install, wait until cool, push, time, judge.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import Protocol

import msgspec

from latency.adb.address import Address
from latency.adb.connect import connect
from latency.adb.device import AdbDevice
from latency.android.inspection import PhoneFacts, inspect
from latency.android.installation import install, tidy
from latency.android.profile import PhoneProfile, PhoneUnit, update_unit
from latency.android.program import ProgramRunner, program_file
from latency.android.runner_session import PhoneRunner
from latency.android.thermal import wait_until_cool
from latency.errors import CandidateError, LatencyError, PhoneError, RunnerCrashedError
from latency.host.expected_output import ExpectedOutput, HostOutput
from latency.host.quiet import Quiet
from latency.leases.adb_phone import hold_adb_phone
from latency.leases.between_processes import PhoneLeases, user_leases
from latency.measurement.output_check import OutputCheck, check_output, numbers_of
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.record import LatencyRecord, PhoneConditions, PhoneIdentity, Session, model_sha256
from latency.measurement.window import TimedWindow
from latency.runtime import RuntimeBundle, prepare_android_bundle, prepare_bundle
from latency.sessions import measure_sessions
from latency.waiting import said
from mnas.documents.user_paths import user_path

MODEL_PUSH_TIMEOUT_S = 300.0
CONNECT_TIMEOUT_S = 60.0
"""The longest connecting can take: a prompt for this computer's key waits so long. Without a prompt it is 10 s."""
REMOVE_TIMEOUT_S = 20.0
INSTALL_LEASE_S = 600.0
_TOLERANCE_FIELDS = {"fp32": "checksum_tolerance", "fp16": "half_tolerance", "quantised": "quantised_tolerance"}

_LOG = logging.getLogger(__name__)


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
        self._facts: PhoneFacts | None = None
        self._runtime = ""
        self._runner: SessionRunner | None = None
        self._reference_best_ms: float | None = unit.reference_ms

    def identify(self) -> PhoneIdentity:
        """See `PhoneBackend`; the serial is the unit's own, not its address, which can change."""
        with self._lock, self._held(INSTALL_LEASE_S) as (runner, _):
            return self._identity(runner)

    def measure(self, model: bytes, settings: MeasurementSettings) -> LatencyRecord:
        """See `PhoneBackend`.

        Raises:
            PhoneError: The transport's kinds, `phone_unstable`, `phone_hot`, `phone_saving`, `phone_busy`,
                `wrong_output` (the phone computes something else than this host), `phone_slow_when_added`,
                `phone_changed` (another device answers at the address, or the same one with another build or engine
                than before).
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
                self._runner = self._installed(device)
                tidy(device, self._profile.folder, self._runner.folder)
                renew(lease_s)
            self._require_trusted()
            yield self._runner, partial(renew, lease_s)

    def _installed(self, device: AdbDevice) -> SessionRunner:
        with said(f"phone {self.name!r}: comparing the runtime on it, and pushing what is missing, at most 5 minutes"):
            runner = install_runner(device, self._profile, lambda name: None)
        if self._runtime not in ("", runner.runtime):
            raise PhoneError(
                "phone_changed",
                f"phone {self.name!r}: its runtime was {self._runtime[:12]} and is {runner.runtime[:12]} now; start "
                "again, so that no two engines are mixed",
            )
        self._runtime = runner.runtime
        self._learn_after_update(runner)
        return runner

    def _learn_after_update(self, runner: SessionRunner) -> None:
        """Find the best time of the reference network again if the phone's system is not the one that was added."""
        now = self._facts.fingerprint if self._facts else None
        if now == self._unit.fingerprint or not isinstance(runner, PhoneRunner):
            return
        unit = msgspec.structs.replace(self._unit, fingerprint=now)
        if self._unit.fingerprint is not None:  # None: the profile is older than this rule.
            settings = self._profile.settings({})
            text = f"phone {self.name!r}: its system was updated; finding the best time of the reference network again"
            _LOG.info("%s, about %g s", text, settings.calibration_s)
            with self._quiet():
                self._reference_best_ms = runner.best_of_reference(settings)
            unit = msgspec.structs.replace(unit, reference_ms=self._reference_best_ms)
        self._learn(unit)

    def _learn(self, unit: PhoneUnit) -> None:
        """Take over what was learnt about the unit, and write it into the profile."""
        update_unit(self._profile, unit)
        units = tuple(unit if each.serial == unit.serial else each for each in self._profile.units)
        self._profile = msgspec.structs.replace(self._profile, units=units)
        self._unit = unit

    def _require_trusted(self) -> None:
        if self._unit.slow_when_added is not None:
            raise PhoneError(
                "phone_slow_when_added",
                f"phone {self.name!r} was added while slow: {self._unit.slow_when_added}. What was measured with this "
                f"profile does not count; let the phone cool, leave its battery saver, and add it again: mnas phones "
                f"add {self._profile.name}",
            )

    @contextmanager
    def _connection(self) -> Iterator[AdbDevice]:
        """Connect to the phone unless it is connected."""
        keep = False
        try:
            if self._device is None:
                with said(f"phone {self.name!r}: connecting to {self._address}, at most {CONNECT_TIMEOUT_S:g} s"):
                    self._device = connect(self._address)
                    facts = inspect(self._device, self._profile.folder)
                self._require_same_unit(facts)
                self._facts = facts
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

        before = self._facts
        if before is not None and (changed := _changes(before, facts)):
            raise PhoneError(
                "phone_changed",
                f"phone {self.name!r}: since this program connected first, {changed}; start again, so that no two "
                "systems are mixed",
            )

    def _identity(self, runner: SessionRunner) -> PhoneIdentity:
        return PhoneIdentity(
            name=self._profile.name,
            kind="adb",
            serial=self._unit.serial,
            fingerprint=self._facts.fingerprint if self._facts else "",
            engine=runner.engine,
            engine_version=runner.engine_version,
            runtime=runner.runtime,
            core=self._profile.core,
            threads=self._profile.threads,
            reference_ms=self._unit.reference_ms if isinstance(runner, PhoneRunner) else None,
        )

    def _measure(
        self, runner: SessionRunner, renew: Callable[[], None], model: bytes, settings: MeasurementSettings
    ) -> LatencyRecord:
        with self._run_on_host(model, settings) as host_run:
            state = wait_until_cool(runner.device, settings, renew)
            self._require_full_speed(state)
            model_hash = model_sha256(model)
            model_path = str(PurePosixPath(self._profile.folder) / f"model-{model_hash[:16]}.onnx")
            with said(f"phone {self.name!r}: pushing the model, at most {MODEL_PUSH_TIMEOUT_S:g} s"):
                model_file = runner.model_file(model, settings.load_timeout_s)
                runner.device.push(model_file, model_path, in_place=True, timeout_s=MODEL_PUSH_TIMEOUT_S)
            numbers = numbers_of(model)
        expected = host_run.result()
        check: OutputCheck | None = None

        def attempt(_: bool) -> Session:
            # Each run of the runner is a session of its own, whether it is the first or another try.
            nonlocal check
            renew()
            timed = self._timed(runner, model_path, settings)
            if timed.loaded is not None:
                same, check = check_output(timed.loaded.output_sums, expected.sums, numbers, settings)
                if not same:
                    raise self._wrong_output(check)
            self._require_not_faster(timed.window, settings)
            return timed

        record = measure_sessions(
            attempt,
            model_hash,
            self._identity(runner),
            settings,
            advice="Let it cool, close its apps, keep the screen off and the charger in, then try again; "
            "`mnas phones check` looks at each of these",
            conditions=state,
            scale=self._unit.scale,
        )
        return replace(record, input_shapes=expected.input_shapes, output_check=check)

    @contextmanager
    def _run_on_host(self, model: bytes, settings: MeasurementSettings) -> Iterator[Future[HostOutput]]:
        """Run the model on this host during the block, and not after it: the phone may be this machine.

        The result raises CandidateError if the host's engine does not take or run the model.
        """
        host_run = self._host_thread.submit(self._host.of, model, settings)
        try:
            yield host_run
        finally:
            with said(f"phone {self.name!r}: running the model on this host, at most {settings.load_timeout_s:g} s"):
                wait([host_run])

    def _timed(self, runner: SessionRunner, model_path: str, settings: MeasurementSettings) -> Session:
        """Time one window; a model that crashes the runner twice on a phone that works is at fault.

        Raises:
            CandidateError, PhoneError, ToolError: As `SessionRunner.session` does.
        """
        try:
            return self._timed_once(runner, model_path, settings)
        except RunnerCrashedError as crash:
            if not isinstance(runner, PhoneRunner):
                raise
            try:
                runner.try_out(settings)
            except LatencyError:
                raise crash from None  # The phone cannot run anything.
            try:
                return self._timed_once(runner, model_path, settings)
            except RunnerCrashedError as again:
                raise CandidateError(
                    "model_rejected",
                    f"the model crashes the runner on the phone, twice, and the reference network does not: {again}",
                    "run",
                ) from again

    def _timed_once(self, runner: SessionRunner, model_path: str, settings: MeasurementSettings) -> Session:
        most_s = settings.load_timeout_s + settings.window_timeout_s
        with said(f"phone {self.name!r}: loading the model and timing it, at most {most_s:g} s"), self._quiet():
            timed, self._reference_best_ms = runner.session(model_path, settings, self._reference_best_ms)
        return timed

    def _require_full_speed(self, state: PhoneConditions) -> None:
        if state.battery_saver:
            raise PhoneError(
                "phone_saving",
                f"phone {self.name!r}: its battery saver is on, which lowers the clocks; switch it off (Settings, "
                "Battery, or adb shell settings put global low_power 0)",
            )

    def _require_not_faster(self, window: TimedWindow, settings: MeasurementSettings) -> None:
        """Stop trusting the profile if the phone is clearly faster than when it was added."""
        before_ms, after_ms = window.reference_before_ms, window.reference_after_ms
        if before_ms is None or after_ms is None or settings.faster_limit >= 1:
            return
        now_ms, added_ms = max(before_ms, after_ms), self._unit.reference_ms
        if now_ms < added_ms * (1 - settings.faster_limit):
            reason = f"its reference network takes {now_ms:.4f} ms, and took {added_ms:.4f} ms then"
            self._learn(msgspec.structs.replace(self._unit, slow_when_added=reason))
            self._require_trusted()

    def _wrong_output(self, check: OutputCheck) -> PhoneError:
        apart = 0.0 if check.difference is None else check.difference
        remedy = (
            "add the phone again to renew its runtime; if the difference stays, this processor computes the model "
            "wrongly"
            if check.numbers == "fp32"
            else f"processors round {check.numbers} numbers in different places. If models of fp32 agree on this "
            f"phone, it is this and no fault; how much you accept is {_TOLERANCE_FIELDS[check.numbers]}"
        )
        return PhoneError(
            "wrong_output",
            f"phone {self.name!r}: its output differs from this host's by {apart:.2g} of its size, above "
            f"{check.tolerance:g} for {check.numbers}; what computes something else has not timed this model. Try: "
            f"{remedy}",
        )


def _changes(before: PhoneFacts, now: PhoneFacts) -> str:
    """Return what is not as it was, in words; empty if everything is."""
    told = [
        f"its {name} changed from {getattr(before, name)!r} to {getattr(now, name)!r}"
        for name in ("model", "abi", "android", "fingerprint")
        if getattr(before, name) != getattr(now, name)
    ]
    return " and ".join(told)
