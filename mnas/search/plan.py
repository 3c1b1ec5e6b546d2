"""From an experiment to what its search does."""

from __future__ import annotations

import msgspec

from mnas.experiment import Experiment
from mnas.search.driver import SearchPlan
from mnas.search.requests import Budget


def search_plan(experiment: Experiment, workers: int) -> SearchPlan:
    """Return what the search of an experiment does with this many workers."""
    return SearchPlan(
        trials=experiment.search.trials,
        workers=workers,
        target_ms=experiment.latency.target_ms,
        others_target_ms=experiment.latency.rewarded_others(),
        reward=experiment.reward,
        schedule=experiment.search.schedule,
        batch_size=experiment.search.batch_size,
        seed=experiment.seed,
        max_pending=experiment.search.max_pending,
        max_consecutive_failures=experiment.search.max_consecutive_failures,
        budget=Budget(**msgspec.structs.asdict(experiment.search.budget)),
    )
