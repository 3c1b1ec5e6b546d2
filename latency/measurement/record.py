"""The record of one measurement: enough to judge it, repeat it and find it again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from latency.measurement.output_check import OutputCheck
from latency.measurement.protocol import MeasurementSettings
from latency.measurement.window import TimedWindow, median_absolute_deviation, percentile
from mnas.documents.check import convert

RECORD_SCHEMA = 4
_READABLE = (2, 3, RECORD_SCHEMA)
# What `to_dict` writes next to the fields, for readers without this class.
_DERIVED = ("schema", "latency_ms", "summary")


def model_sha256(model: bytes) -> str:
    """Return the hash of the ONNX bytes.

    A model's measurements are kept under it.
    """
    return hashlib.sha256(model).hexdigest()


@dataclass(frozen=True)
class PhoneIdentity:
    """Everything but the protocol that makes two latencies comparable.

    Same phone, same engine, same core.
    """

    name: str
    """What the user calls the phone."""
    kind: str
    """How it is reached: `host` or `adb`."""
    serial: str
    """The phone's own serial number, or the host's name."""
    fingerprint: str
    """What runs there: Android's build fingerprint, or the host's processor."""
    engine: str
    engine_version: str
    runtime: str
    """What is installed of the engine: a hash of the files on the phone, or the host's package."""
    core: int
    """The core that the timed thread is pinned to."""
    threads: int = 1
    reference_ms: float | None = None
    """Best time of the reference network when the phone was added; None for the host. A kept record whose reference was
    slower was measured on a slow phone, and is not used."""


@dataclass(frozen=True)
class PhoneConditions:
    """How a phone was when a measurement began; None for what cannot be read there."""

    thermal_status: int | None = None
    """Android's: 0 none, 1 light, 2 moderate, 3 severe, 4 critical, 5 emergency, 6 shutdown."""
    battery_temperature_c: float | None = None
    battery_percent: int | None = None
    charging: bool | None = None
    battery_saver: bool | None = None
    """Whether Android's battery saver is on, which lowers clocks."""


@dataclass(frozen=True)
class LoadReport:
    """What is known of a model once it is loaded and warm."""

    load_ms: float
    """Time to make the session from the ONNX bytes, graph optimisation included."""
    first_run_ms: float
    """Time of the very first inference."""
    warmup_runs: int
    """Warm-up runs carried out, the first not included."""
    warmup_ms: float
    """Time they took."""
    output_checksum: float | None
    """Sum of the absolute outputs for the protocol's fixed inputs, the same on every correct engine to about
    1e-5 relative; None if it is not a finite number."""
    governor: str | None
    """The core's frequency governor; None if it cannot be read."""
    output_sums: tuple[float, ...] = ()
    """What the outputs are compared by (see `latency.measurement.output_check`)."""


@dataclass(frozen=True)
class Session:
    """One loading of the model and the window that was accepted in it.

    `loaded` is None if nothing tells it.
    """

    loaded: LoadReport | None
    window: TimedWindow


@dataclass(frozen=True)
class RejectedWindow:
    """A window that was measured and not accepted."""

    reason: str
    window: TimedWindow


@dataclass(frozen=True)
class LatencyRecord:
    """One measurement of one model on one phone, with every raw run.

    A phone returns only records that are `accepted`. Another record travels inside the `PhoneUnstableError` that says
    why it was not accepted. Nothing is removed from the runs: the median is not moved by outliers, and a reader of the
    record sees them. The properties that end in `_ms` are as timed on the phone, except `latency_ms`, which is scaled.
    """

    model_sha256: str
    phone: PhoneIdentity
    settings: MeasurementSettings
    sessions: tuple[Session, ...]
    """The accepted sessions, in order."""
    rejected_windows: tuple[RejectedWindow, ...]
    accepted: bool
    reason: str
    """Why it was accepted or not."""
    measured_at: str
    """UTC, ISO 8601."""
    conditions: PhoneConditions = PhoneConditions()
    scale: float = 1.0
    """What this unit's times are multiplied by to be those of the first unit of its model."""
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The shapes that the inputs were timed with, by name; empty in a record of schema 3 and older."""
    output_check: OutputCheck | None = None
    """How the outputs were compared with this host's; None if they were not: the host itself, a benchmark program of
    the user's, a record of schema 3 and older."""

    @property
    def flags(self) -> tuple[str, ...]:
        """What a reader of the latency should know, in words; empty as a rule."""
        flags = []
        for name, shape in self.input_shapes.items():
            if len(shape) > 1 and shape[0] != 1:
                flags.append(
                    f"the first dimension of input {name!r} is {shape[0]}; if it is a batch, the latency is that of "
                    "the whole batch"
                )
        shares = [share for session in self.sessions if (share := session.window.clock_share) is not None]
        if shares and min(shares) < self.settings.clock_flag:
            flags.append(
                f"the core ran at {min(shares):.0%} of its highest clock; a power mode or a cap may hold it there"
            )
        if self.output_check is not None and not self.output_check.compared:
            flags.append("the output has nothing to compare (no numbers, only zeros, or none that is finite)")
        return tuple(flags)

    @property
    def latency_ms(self) -> float:
        """The latency: the median over the sessions of a run's median wall time, scaled."""
        self._require_sessions()
        return self.scale * median(session.window.latency_ms for session in self.sessions)

    @property
    def session_latencies_ms(self) -> tuple[float, ...]:
        """Median wall time of each session."""
        return tuple(session.window.latency_ms for session in self.sessions)

    @property
    def wall_ms(self) -> tuple[float, ...]:
        """Raw wall times of all sessions."""
        return tuple(time_ms for session in self.sessions for time_ms in session.window.wall_ms)

    @property
    def cpu_ms(self) -> tuple[float, ...] | None:
        """Raw CPU times of all sessions; None if the phone's program does not tell them."""
        times = [session.window.cpu_ms for session in self.sessions]
        return None if None in times else tuple(time_ms for part in times for time_ms in part or ())

    @property
    def mad_ms(self) -> float:
        """Median absolute deviation of the wall times."""
        self._require_sessions()
        return median_absolute_deviation(self.wall_ms)

    @property
    def p90_ms(self) -> float:
        """90th percentile of the wall times."""
        self._require_sessions()
        return percentile(self.wall_ms, 90)

    @property
    def min_ms(self) -> float:
        """Shortest wall time."""
        self._require_sessions()
        return min(self.wall_ms)

    @property
    def contention(self) -> float | None:
        """Median wall time / CPU time."""
        ratios = [session.window.contention for session in self.sessions]
        known = [ratio for ratio in ratios if ratio is not None]
        return median(known) if known else None

    @property
    def output_checksum(self) -> float | None:
        """Output checksum of the first session; None if there is none."""
        return next((session.loaded.output_checksum for session in self.sessions if session.loaded), None)

    @property
    def attempts(self) -> int:
        """Windows measured, the accepted ones included."""
        return len(self.rejected_windows) + len(self.sessions)

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold.

        For readers without this class it also has `latency_ms`, None without an accepted session, and under `summary`
        the other derived numbers.
        """
        summary: dict[str, Any] = {"attempts": self.attempts, "flags": list(self.flags)}
        if self.sessions:
            summary |= {
                "mad_ms": self.mad_ms,
                "p90_ms": self.p90_ms,
                "min_ms": self.min_ms,
                "contention": self.contention,
            }
        latency_ms = self.latency_ms if self.sessions else None
        return {"schema": RECORD_SCHEMA, "latency_ms": latency_ms, "summary": summary, **asdict(self)}

    @classmethod
    def from_dict(cls, data: object) -> LatencyRecord:
        """Return the record that `to_dict` wrote, also after a trip through JSON.

        Schema 2 had `latency_ms` in `summary`, and in the trials of a search next to it too. Schema 3 had no input
        shapes and no output check.

        Raises:
            ValueError: The data has another schema, or is not a record.
        """
        if not isinstance(data, Mapping) or data.get("schema") not in _READABLE:
            versions = " and ".join(map(str, _READABLE))
            found = data.get("schema") if isinstance(data, Mapping) else None
            raise ValueError(f"latency record has schema {found!r}; this version reads {versions}")
        fields = {key: value for key, value in data.items() if key not in _DERIVED}
        convert(fields, cls, source="not a latency record")  # types, and finite numbers
        try:
            fields["phone"] = PhoneIdentity(**fields["phone"])
            fields["settings"] = MeasurementSettings(**fields["settings"])
            fields["conditions"] = PhoneConditions(**fields["conditions"])
            fields["sessions"] = tuple(
                Session(session["loaded"] and _load_report(session["loaded"]), _window(session["window"]))
                for session in fields["sessions"]
            )
            fields["rejected_windows"] = tuple(
                RejectedWindow(rejected["reason"], _window(rejected["window"]))
                for rejected in fields["rejected_windows"]
            )
            shapes = fields.get("input_shapes", {})
            fields["input_shapes"] = {name: tuple(shape) for name, shape in shapes.items()}
            if (check := fields.get("output_check")) is not None:
                fields["output_check"] = OutputCheck(**check)
            return cls(**fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a latency record: {error}") from error

    def _require_sessions(self) -> None:
        if not self.sessions:
            raise ValueError(f"the record of model {self.model_sha256[:12]} has no accepted session: {self.reason}")


def _window(data: Mapping[str, Any]) -> TimedWindow:
    cpu_ms = data["cpu_ms"]
    return TimedWindow(
        **{**data, "wall_ms": tuple(data["wall_ms"]), "cpu_ms": None if cpu_ms is None else tuple(cpu_ms)}
    )


def _load_report(data: Mapping[str, Any]) -> LoadReport:
    return LoadReport(**{**data, "output_sums": tuple(data.get("output_sums", ()))})
