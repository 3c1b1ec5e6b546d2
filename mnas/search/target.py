"""Whether the target latency of a search tells its networks apart."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from mnas.experiment import Experiment
from mnas.search.store import Trial

_FEWEST_TRIALS = 3


def target_note(trials: Iterable[Trial], experiment: Experiment) -> str | None:
    """Return what to say if every network of a search, or none, meets `latency.target_ms`; None otherwise."""
    timed = [(trial.latency_ms, trial.id) for trial in trials if trial.latency_ms is not None]
    latencies_ms = [latency_ms for latency_ms, _ in timed]
    target_ms = experiment.latency.target_ms
    if not latencies_ms or (len(latencies_ms) < _FEWEST_TRIALS and min(latencies_ms) <= target_ms):
        return None
    fastest, middle, slowest = min(latencies_ms), statistics.median(latencies_ms), max(latencies_ms)
    if fastest <= target_ms < slowest:
        return None
    found = "Every network meets" if slowest <= target_ms else "No network meets"
    nearest = "" if slowest <= target_ms else f" The nearest is trial {min(timed)[1]}."
    alpha, beta = experiment.reward.exponents
    effect = (
        "With alpha = beta, as here, the target does not change the order of the networks."
        if alpha == beta
        else f"A target near {middle:.4g} ms would tell them apart."
    )
    return (
        f"{found} latency.target_ms = {target_ms:g}: {len(latencies_ms)} networks took {fastest:.4f} to "
        f"{slowest:.4f} ms,\nmedian {middle:.4f} ms.{nearest} {effect}"
    )
