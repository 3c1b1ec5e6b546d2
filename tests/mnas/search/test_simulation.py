from dataclasses import replace
from pathlib import Path

import pytest

from controllers import create_controller
from mnas.reward import RewardSettings
from mnas.search.driver import Progress
from mnas.search.halving import Halving, epochs_trained
from mnas.search.plan import SearchPlan
from mnas.search.replay import replay
from mnas.search.requests import Budget, Requests
from mnas.search.simulation import Simulated, Workload, simulate, spread_around
from mnas.search.store import TrialStore
from mnas.search.trial import Trial
from search_space import SearchSpace

SPACE = SearchSpace.load("tiny16")
PLAN = SearchPlan(trials=80, workers=8, target_ms=1.0, reward=RewardSettings(), max_consecutive_failures=50)
STEADY = Workload(train_s=(100.0,), measure_s=(10.0,))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "trials.sqlite"


class Asking:
    """An observer that asks something of the search once so many trials have ended."""

    def __init__(self, after: int, then: Requests) -> None:
        self.ended: list[Trial] = []
        self.notices: list[str] = []
        self._after, self._then = after, then
        self._calls_left = 5 if then.paused else 10**9

    def trial_finished(self, trial: Trial) -> None:
        self.ended.append(trial)

    def progress(self, progress: Progress) -> None:
        self.notices.append(progress.notice)

    def requests(self) -> Requests:
        if len(self.ended) < self._after or not self._calls_left:
            return Requests()
        self._calls_left -= bool(self._then.paused)
        return self._then


def run(
    database: Path, plan: SearchPlan = PLAN, load: Workload = STEADY, phones: int = 1, asking: Asking | None = None
) -> Simulated:
    controller = create_controller("random", SPACE.decision_sizes, seed=0)
    return simulate(plan, SPACE, controller, load, phones, database, observer=asking, control=asking)


def trials(database: Path) -> list[Trial]:
    store = TrialStore(database)
    try:
        return store.trials()
    finally:
        store.close()


def test_workers_are_busy_until_the_last_round(database: Path) -> None:
    found = run(database)
    assert found.total_s == 80 / 8 * 100
    assert found.workers.busy_s() == 80 * 100
    assert found.busy_share(found.workers) > 0.9


def test_too_few_phones_set_the_pace(database: Path) -> None:
    found = run(database, load=replace(STEADY, measure_s=(50.0,)))
    assert found.busy_share(found.phones) > 0.9
    assert found.total_s >= 80 * 50


def test_failures_end_trials_and_the_log_replays(database: Path) -> None:
    load = Workload(spread_around(100, 0.3), spread_around(20, 0.3), spread_around(10, 0.3), 5.0, 0.2, 0.1)
    run(database, load=load)
    ended = trials(database)
    assert {trial.state for trial in ended} == {"complete", "failed"}
    store = TrialStore(database)
    replay(store, create_controller("random", SPACE.decision_sizes, seed=0))
    store.close()


def test_times_in_the_store_are_those_of_the_simulation(database: Path) -> None:
    run(database, plan=replace(PLAN, trials=1))
    (trial,) = trials(database)
    assert (trial.proposed_at, trial.finished_at) == ("2025-01-01T00:00:00.000+00:00", "2025-01-01T00:01:40.000+00:00")


def test_a_spread_keeps_its_mean() -> None:
    values = spread_around(50.0, 0.4)
    assert sum(values) / len(values) == pytest.approx(50.0)
    assert max(values) > 100


def test_drain_ends_what_is_pending_and_starts_nothing(database: Path) -> None:
    asking = Asking(10, Requests(stop="drain"))
    run(database, asking=asking)
    ended = trials(database)
    assert {trial.state for trial in ended} == {"complete"}
    assert 10 <= len(ended) < 40
    run(database)
    assert len(trials(database)) == 80


def test_a_stop_at_once_leaves_what_is_pending(database: Path) -> None:
    run(database, asking=Asking(10, Requests(stop="now")))
    assert {trial.state for trial in trials(database)} == {"complete", "proposed"}
    run(database)
    assert [trial.state for trial in trials(database)] == ["complete"] * 80


def test_a_pause_starts_nothing_until_it_is_over(database: Path) -> None:
    asking = Asking(10, Requests(paused=True))
    run(database, asking=asking)
    assert "paused" in asking.notices
    assert len(trials(database)) == 80


def test_a_cancelled_trial_is_final_and_not_told(database: Path) -> None:
    run(database, asking=Asking(5, Requests(cancelled=frozenset({9}))))
    run(database)
    ninth = trials(database)[8]
    assert ninth.failure is not None
    assert ninth.failure.kind.value == "cancelled"
    store = TrialStore(database)
    assert not any(call.rewards and 9 in call.trial_ids for call in store.controller_log())
    store.close()


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (Budget(trials=20), 20),
        (Budget(hours=300 / 3600), 8 * 3),
        (Budget(device_hours=8 * 300 / 3600), 8 * 3),
    ],
)
def test_a_budget_ends_the_search_and_a_larger_one_goes_on(database: Path, budget: Budget, expected: int) -> None:
    asking = Asking(10**9, Requests())
    run(database, replace(PLAN, budget=budget), asking=asking)
    assert expected <= len(trials(database)) <= expected + PLAN.workers
    assert any("search.budget" in notice for notice in asking.notices)
    before = len(trials(database))
    run(database, replace(PLAN, budget=budget))
    assert len(trials(database)) == before
    run(database)
    assert len(trials(database)) == 80


def test_children_that_are_stopped_early_leave_their_workers_to_others(database: Path) -> None:
    plan = replace(PLAN, halving=Halving((1, 3), 3, 10))
    found = run(database, plan, phones=4)
    ended = trials(database)
    assert found.counts["stopped"] == sum(trial.state == "stopped" for trial in ended) > 20
    spent = sum(epochs_trained(trial, 10) for trial in ended if trial.repeat_of is None)
    assert found.workers.busy_s() == pytest.approx(10 * spent)
    assert found.total_s < 0.7 * 80 / 8 * 100
