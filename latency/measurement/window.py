"""One timed window.

Its raw runs, the statistics drawn from them, and the rule that accepts or rejects it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from latency.measurement.protocol import MeasurementSettings


def median_absolute_deviation(values: Sequence[float]) -> float:
    """Return the median distance of the values from their median.

    One outlier cannot move it.
    """
    middle = median(values)
    return median(abs(value - middle) for value in values)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which `percent` (0 to 100) of the values lie.

    It is interpolated linearly, as NumPy does.
    """
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


@dataclass(frozen=True)
class TimedWindow:
    """All timed runs of one window, in order.

    Raises:
        ValueError: There are no runs, or impossible times.
    """

    wall_ms: tuple[float, ...]
    """Elapsed time of each run."""
    cpu_ms: tuple[float, ...] | None
    """CPU time the running thread was given in each run; None from a benchmark program that does not tell it."""
    involuntary_switches: int
    """How often the scheduler took the core away during the runs."""
    frequency_khz_before: int | None = None
    """The core's clock just before the runs; None if it cannot be read (most virtual machines)."""
    frequency_khz_after: int | None = None
    """The core's clock just after the runs."""
    others_busy: float | None = None
    """Mean share of the machine's cores that other threads wanted during the runs; None if unreadable."""
    reference_before_ms: float | None = None
    """Median time of the reference network just before the runs (see `latency.measurement.reference_network`)."""
    reference_after_ms: float | None = None
    """The same just after them."""
    reference_best_ms: float | None = None
    """The best time of the reference network on this core by then."""
    frequency_khz_max: int | None = None
    """The core's highest clock; None if it cannot be read."""
    temperature_c_before: float | None = None
    """The hottest readable sensor of the processor just before the runs; None if none can be read."""
    temperature_c_after: float | None = None
    """The same just after them."""

    def __post_init__(self) -> None:
        cpu_ms = self.wall_ms if self.cpu_ms is None else self.cpu_ms
        if not self.wall_ms or len(self.wall_ms) != len(cpu_ms):
            raise ValueError(
                f"a window has {len(self.wall_ms)} wall and {len(cpu_ms)} CPU times; "
                "it needs at least one run, with both times for each"
            )
        if not all(0 < time_ms < float("inf") for time_ms in (*self.wall_ms, *cpu_ms)):
            raise ValueError("a window has a time that is not above 0 and finite; every run takes some time")
        references_ms = (self.reference_before_ms, self.reference_after_ms, self.reference_best_ms)
        if not all(time_ms is None or 0 < time_ms < math.inf for time_ms in references_ms):
            raise ValueError("a window has a time of the reference network that is not above 0 and finite")
        if self.others_busy is not None and not 0 <= self.others_busy < math.inf:
            raise ValueError(f"a window has others_busy {self.others_busy}; a share is at least 0 and finite")

    @property
    def latency_ms(self) -> float:
        """Median wall time of a run: the latency."""
        return median(self.wall_ms)

    @property
    def cpu_latency_ms(self) -> float | None:
        """Median CPU time of a run."""
        return None if self.cpu_ms is None else median(self.cpu_ms)

    @property
    def mad_ms(self) -> float:
        """Median absolute deviation of the wall times."""
        return median_absolute_deviation(self.wall_ms)

    @property
    def relative_mad(self) -> float:
        """`mad_ms` as a share of the median."""
        return self.mad_ms / self.latency_ms

    @property
    def p90_ms(self) -> float:
        """90th percentile of the wall times."""
        return percentile(self.wall_ms, 90)

    @property
    def min_ms(self) -> float:
        """Shortest wall time."""
        return min(self.wall_ms)

    @property
    def contention(self) -> float | None:
        """Median wall time / CPU time of a run.

        1 on a core of its own, more on a shared one. None if the CPU times are not known.
        """
        if self.cpu_ms is None:
            return None
        return median(wall / cpu for wall, cpu in zip(self.wall_ms, self.cpu_ms, strict=True))

    @property
    def clock_share(self) -> float | None:
        """The lower of the clocks before and after, as a share of the core's highest; None if one is unknown."""
        clocks_khz = [khz for khz in (self.frequency_khz_before, self.frequency_khz_after) if khz]
        if not clocks_khz or not self.frequency_khz_max:
            return None
        return min(clocks_khz) / self.frequency_khz_max

    @property
    def drift(self) -> float | None:
        """How much slower than at its best the reference network was, before or after.

        0.05 means 5%.
        """
        if self.reference_before_ms is None or self.reference_after_ms is None or self.reference_best_ms is None:
            return None
        return max(self.reference_before_ms, self.reference_after_ms) / self.reference_best_ms - 1


def rejection(window: TimedWindow, settings: MeasurementSettings) -> str | None:
    """Return why the protocol does not accept the window.

    Returns:
        The reason with the number and its limit; None if the window is accepted.
    """
    # "not x <= limit": NaN is above every limit.
    if window.contention is not None and not window.contention <= settings.contention_limit:
        return f"contention {window.contention:.3f} is above {settings.contention_limit:g} (wall/CPU time)"
    seconds = sum(window.wall_ms) / 1000
    if not window.involuntary_switches <= 1 + settings.switches_per_s_limit * seconds:
        return (
            f"{window.involuntary_switches} involuntary context switches in {seconds:.3f} s are above "
            f"1 + {settings.switches_per_s_limit:g} per second"
        )
    if window.others_busy is not None and not window.others_busy <= settings.others_busy_limit:
        return (
            f"other work on {window.others_busy:.0%} of the machine's cores is above {settings.others_busy_limit:.0%}"
        )
    if window.drift is not None and not window.drift <= settings.drift_limit:
        return f"the core is {window.drift:.1%} slower than at its best, which is above {settings.drift_limit:.0%}"
    if not window.relative_mad <= settings.relative_mad_limit:
        return f"relative MAD {window.relative_mad:.3f} is above {settings.relative_mad_limit:g}"
    return None
