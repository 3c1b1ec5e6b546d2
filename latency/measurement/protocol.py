"""The measurement protocol.

How long to warm up, how often to time, and what makes a timing unacceptable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType


@dataclass(frozen=True)
class MeasurementSettings:
    """How one model is timed; checked when made, immutable, part of the cache key.

    The defaults take about 0.4 s plus 50 runs per model.

    Raises:
        ValueError: A value is out of its range.
    """

    warmup_runs: int = 10
    """Untimed runs after the first one, at least."""
    warmup_min_ms: float = 300.0
    """Warm-up goes on until this much time has passed too: clocks settle by time, not by count."""
    rewarm_runs: int = 3
    """Untimed runs at the start of each window, at least: what ran before has emptied the caches."""
    rewarm_min_ms: float = 10.0
    """The re-warm runs go on until this much time has passed too."""
    runs: int = 50
    """Timed runs in a window."""
    sessions: int = 1
    """How often the model is loaded again and timed; the latency is the median over the sessions. Sessions differ more
    from one another (place of the memory, state of the core) than the runs of one do."""
    min_runs: int = 10
    """A slow model gets fewer runs than `runs` if the window's budget ends, but never fewer than this."""
    window_budget_ms: float = 5000.0
    """No further timed run starts after this much time in a window (unless `min_runs` is not reached)."""
    contention_limit: float = 1.03
    """Largest accepted median of wall time / CPU time: above it, the runs shared their core."""
    relative_mad_limit: float = 0.03
    """Largest accepted median absolute deviation of the wall times, as a share of their median."""
    switches_per_s_limit: float = 10.0
    """Largest accepted rate of involuntary context switches, after a single one, which any window may have.
    A core shared in slices of 3 ms shows some 200 per second. Short runs fit between two slices: their wall
    and CPU times agree, but the other process empties the caches and they take up to 20 % longer."""
    others_busy_limit: float = 0.1
    """Largest accepted share of the machine's cores that other work kept busy. Cores share caches, memory and, as
    hyper-threads, execution units: a busy neighbour has made runs 1.2 to 1.6 times slower without a sign in their
    CPU times."""
    reference_runs: int = 20
    """Timed runs of the reference network before and after the candidate's."""
    drift_limit: float = 0.03
    """Largest accepted slowdown of the reference network, relative to its best time on the core."""
    calibration_s: float = 2.0
    """How long the reference network is timed when a phone is used first, to know its best time."""
    faster_limit: float = 0.05
    """Largest accepted speed-up of the reference network, relative to when the phone was added. A phone that is faster
    than that was slow when it was added (battery saver, heat): its reference and its scale are wrong, and it must be
    added again. 1 switches the rule off. Phones over adb only; the host finds its best time in each process."""
    scale_limit: float = 0.1
    """Largest accepted difference in speed between the units of a phone model when they are added: scales from 0.9 to
    1.1. Equal phones differ by less; a unit that differs by more was slow, or the first one was."""
    clock_flag: float = 0.75
    """A window at a clock below this share of the core's highest is flagged in the record. It is not rejected: a phone
    may be held at clocks that it can sustain."""
    session_spread_limit: float = 0.05
    """Largest accepted difference between the slowest and the fastest session, as a share of the latency."""
    checksum_tolerance: float = 1e-4
    """Largest accepted relative difference between the phone's output and the host's: a phone that computes something
    else has not run this model. Engines add in different orders, which makes a difference of about 1e-6."""
    half_tolerance: float = 0.02
    """The same for models with float16 or bfloat16 numbers, which processors round at different places: 2.5e-4 to 1e-3
    have been seen between x86 and arm64 without fault."""
    quantised_tolerance: float = 0.1
    """The same for quantised models, where a difference in the last bit can move a value by a whole step."""
    cooldown_drift: float = 0.10
    """A core so much slower than at its best is hot or throttled, not disturbed: the next window waits `cooldown_s`."""
    cooldown_s: float = 0.0
    """See `cooldown_drift`; 0 for machines that do not heat up, such as servers. Phones get 20 when they are added."""
    thermal_status_limit: int = 0
    """Largest accepted thermal status of Android (0 none, 1 light, ... 6 shutdown) at the start."""
    temperature_limit_c: float = 45.0
    """Highest battery temperature at which a measurement starts."""
    thermal_timeout_s: float = 600.0
    """How long to wait for a hot phone to cool down before it counts as unusable."""
    max_attempts: int = 8
    """Windows that may be tried before the phone counts as unstable."""
    backoff_s: float = 0.05
    """Pause after the first rejected window; doubles with each further one, up to a second."""
    load_timeout_s: float = 120.0
    """Longest time for loading the model and warming up."""
    window_timeout_s: float = 60.0
    """Longest time for one window; a runner that takes longer is killed."""

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name), is_whole=field.type == "int")

    @property
    def digest(self) -> str:
        """Short hash of all values.

        It keeps measurements made under different settings apart. A field that is younger than the first kept
        measurements counts only if it is not at its default, so that these are still found.
        """
        defaults = {field.name: field.default for field in fields(self)}
        values = {
            name: value for name, value in asdict(self).items() if name not in _LATER_FIELDS or value != defaults[name]
        }
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


_LATER_FIELDS = frozenset({"faster_limit", "scale_limit", "clock_flag", "half_tolerance", "quantised_tolerance"})

BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "warmup_runs": (0, 10_000),
        "warmup_min_ms": (0.0, 60_000.0),
        "rewarm_runs": (0, 1_000),
        "rewarm_min_ms": (0.0, 10_000.0),
        "runs": (1, 100_000),
        "sessions": (1, 1_000),
        "min_runs": (1, 100_000),
        "window_budget_ms": (1.0, 600_000.0),
        "contention_limit": (1.0, 10.0),
        "relative_mad_limit": (0.0, 1.0),
        "switches_per_s_limit": (0.0, 1e6),
        "others_busy_limit": (0.0, 1e3),
        "reference_runs": (1, 100_000),
        "drift_limit": (0.0, 1e3),
        "calibration_s": (0.0, 600.0),
        "faster_limit": (0.0, 1.0),
        "scale_limit": (0.0, 1e3),
        "clock_flag": (0.0, 1.0),
        "session_spread_limit": (0.0, 1e3),
        "checksum_tolerance": (0.0, 1.0),
        "half_tolerance": (0.0, 1e3),
        "quantised_tolerance": (0.0, 1e3),
        "cooldown_drift": (0.0, 1e3),
        "cooldown_s": (0.0, 3_600.0),
        "thermal_status_limit": (0, 6),
        "temperature_limit_c": (0.0, 150.0),
        "thermal_timeout_s": (0.0, 86_400.0),
        "max_attempts": (1, 1_000),
        "backoff_s": (0.0, 60.0),
        "load_timeout_s": (0.01, 3_600.0),
        "window_timeout_s": (0.01, 3_600.0),
    }
)
"""The smallest and the largest value of each field of MeasurementSettings."""


def _check(name: str, value: object, *, is_whole: bool) -> None:
    low, high = BOUNDS[name]
    allowed = int if is_whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed) or not low <= value <= high:  # NaN is never between
        kind = "whole number" if is_whole else "number"
        raise ValueError(f"{name} is {value!r}; it must be a {kind} from {low:g} to {high:g}")
