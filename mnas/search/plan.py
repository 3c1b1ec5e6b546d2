"""From an experiment to what its search does."""

from __future__ import annotations

import msgspec

from mnas.experiment import Experiment, RepeatSettings
from mnas.search.driver import SearchPlan
from mnas.search.halving import Halving, rung_epochs
from mnas.search.requests import Budget


def search_plan(experiment: Experiment, workers: int) -> SearchPlan:
    """Return what the search of an experiment does with this many workers."""
    search, epochs = experiment.search, experiment.training.epochs
    repeats = search.repeats or RepeatSettings()
    halving = None
    if (chosen := search.halving) is not None:
        halving = Halving(rung_epochs(chosen.first_epochs, chosen.reduction, epochs), chosen.reduction, epochs)
    return SearchPlan(
        trials=search.trials,
        workers=workers,
        target_ms=experiment.latency.target_ms,
        others_target_ms=experiment.latency.rewarded_others(),
        reward=experiment.reward,
        schedule=search.schedule,
        batch_size=search.batch_size,
        seed=experiment.seed,
        max_pending=search.max_pending,
        max_consecutive_failures=search.max_consecutive_failures,
        budget=Budget(**msgspec.structs.asdict(search.budget)),
        halving=halving,
        highest_accuracy=None if search.latency_first is None else search.latency_first.highest_accuracy,
        second_share=repeats.share,
        trains_repeats=repeats.proposed_again == "train",
    )
