from __future__ import annotations

import pytest

import controllers
from experiments.benchmarks.search_cost import measure


@pytest.mark.parametrize("name", list(controllers.STRATEGIES))
def test_every_strategy_is_measured_at_every_checkpoint(name: str) -> None:
    costs = measure(name, (5, 15), window=5)
    assert [(cost.strategy, cost.trial) for cost in costs] == [(name, 5), (name, 15)]
    assert all(cost.mean_ms > 0 and cost.percentile_95_ms > 0 and cost.state_ms > 0 for cost in costs)
