"""The record of one measurement: enough to judge it, repeat it and find it again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from latency.protocol import MeasurementSettings
from latency.window import TimedWindow

SCHEMA_VERSION = 1


def model_sha256(model: bytes) -> str:
    """Hash of the ONNX bytes: the name under which a model's measurements are kept."""
    return hashlib.sha256(model).hexdigest()


@dataclass(frozen=True)
class PhoneIdentity:
    """All that makes two latencies comparable besides the protocol: same device, same engine, same core."""

    name: str
    """What the user calls the phone."""
    kind: str
    """How it is reached: `host` or `adb`."""
    serial: str
    """The adb serial, or the host's name."""
    fingerprint: str
    """What runs there: Android's build fingerprint, or the host's processor."""
    engine: str
    engine_version: str
    core: int
    """The core that the timed thread is pinned to."""
    threads: int = 1


@dataclass(frozen=True)
class RejectedWindow:
    """A window that was measured and not accepted."""

    reason: str
    window: TimedWindow


@dataclass(frozen=True)
class LatencyRecord:
    """One measurement of one model on one phone, with every raw run.

    A phone returns only records that are `accepted`; one that is not travels inside the `PhoneError` that
    says why. Nothing is removed from the runs: the median stands outliers, and a reader of the record sees
    them.
    """

    model_sha256: str
    phone: PhoneIdentity
    settings: MeasurementSettings
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
    1e-5 relative; None where it is not a finite number."""
    governor: str | None
    """The core's frequency governor; None where it cannot be read."""
    window: TimedWindow
    """The window that counts: the accepted one, or the last one tried."""
    rejected_windows: tuple[RejectedWindow, ...]
    accepted: bool
    reason: str
    """Why it was accepted or not."""
    measured_at: str
    """UTC, ISO 8601."""

    @property
    def latency_ms(self) -> float:
        """Median wall time of the accepted window: the latency."""
        return self.window.latency_ms

    @property
    def wall_ms(self) -> tuple[float, ...]:
        """Raw wall times."""
        return self.window.wall_ms

    @property
    def cpu_ms(self) -> tuple[float, ...]:
        """Raw CPU times."""
        return self.window.cpu_ms

    @property
    def cpu_latency_ms(self) -> float:
        """Median CPU time."""
        return self.window.cpu_latency_ms

    @property
    def mad_ms(self) -> float:
        """Median absolute deviation of the wall times."""
        return self.window.mad_ms

    @property
    def p90_ms(self) -> float:
        """90th percentile of the wall times."""
        return self.window.p90_ms

    @property
    def min_ms(self) -> float:
        """Shortest wall time."""
        return self.window.min_ms

    @property
    def contention(self) -> float:
        """Median wall time / CPU time."""
        return self.window.contention

    @property
    def attempts(self) -> int:
        """Windows measured, the one that counts included."""
        return len(self.rejected_windows) + (1 if self.accepted else 0)

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold; `summary` repeats the derived numbers for readers without this class."""
        summary = {
            "latency_ms": self.latency_ms,
            "mad_ms": self.mad_ms,
            "p90_ms": self.p90_ms,
            "min_ms": self.min_ms,
            "cpu_latency_ms": self.cpu_latency_ms,
            "contention": self.contention,
            "attempts": self.attempts,
        }
        return {"schema": SCHEMA_VERSION, "summary": summary, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LatencyRecord:
        """The record that `to_dict` wrote, also after a trip through JSON.

        Raises ValueError for another schema version or for data that is not a record.
        """
        if data.get("schema") != SCHEMA_VERSION:
            raise ValueError(f"latency record has schema {data.get('schema')!r}; this version reads {SCHEMA_VERSION}")
        fields = {key: value for key, value in data.items() if key not in ("schema", "summary")}
        try:
            fields["phone"] = PhoneIdentity(**fields["phone"])
            fields["settings"] = MeasurementSettings(**fields["settings"])
            fields["window"] = _window(fields["window"])
            fields["rejected_windows"] = tuple(
                RejectedWindow(rejected["reason"], _window(rejected["window"]))
                for rejected in fields["rejected_windows"]
            )
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a latency record: {error}") from error


def _window(data: Mapping[str, Any]) -> TimedWindow:
    return TimedWindow(**{**data, "wall_ms": tuple(data["wall_ms"]), "cpu_ms": tuple(data["cpu_ms"])})
