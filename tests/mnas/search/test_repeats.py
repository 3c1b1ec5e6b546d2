"""Networks that are trained more than once (`search.repeats`), on a real store with a stand-in trainer."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import controllers
from mnas.errors import FailureKind, TrialError
from mnas.experiment import Experiment, RepeatSettings
from mnas.reward import RewardSettings
from mnas.search.driver import Search, SilentObserver, child_seed
from mnas.search.plan import SearchPlan, search_plan
from mnas.search.ranking import noise_of
from mnas.search.replay import replay
from mnas.search.store import StoreError, TrialStore
from mnas.search.trial import Trial
from search_space import Architecture, SearchSpace, fingerprint
from tests.mnas.search.mortal_store import KilledError, MortalStore

SPACE = SearchSpace.load("tiny16")
PLAN = SearchPlan(
    trials=12,
    workers=2,
    target_ms=1.0,
    reward=RewardSettings(),
    schedule="synchronous",
    batch_size=4,
    second_share=0.5,
    max_consecutive_failures=12,
)


class Trainer:
    """Gives each network an accuracy with noise that the seed decides, and watches how many train at a time."""

    def __init__(self, failure: FailureKind | None = None) -> None:
        self.seeds: list[int] = []
        self.most = self._training = 0
        self._failure = failure
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(8)

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        self.seeds.append(seed)
        return self._executor.submit(self._train, architecture, seed)

    def _train(self, architecture: Architecture, seed: int) -> Mapping[str, Any]:
        with self._lock:
            self._training += 1
            self.most = max(self.most, self._training)
        accuracy = (int(fingerprint(architecture), 16) % 797 + seed * 7919 % 97) / 1000
        with self._lock:
            self._training -= 1
        if self._failure is not None and seed > 1_000_000:
            raise TrialError(self._failure, "as arranged")
        return {"accuracy": accuracy}


class Meter:
    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        future: Future[Mapping[str, Any]] = Future()
        future.set_result({"latency_ms": 1.0})
        return future


def search(store: TrialStore, plan: SearchPlan = PLAN, trainer: Trainer | None = None, name: str = "ppo") -> None:
    controller = controllers.create_controller(name, SPACE.decision_sizes, seed=5)
    Search(plan, SPACE, controller, store, trainer or Trainer(), Meter(), SilentObserver()).run()


def found(path: Path, **named: Any) -> tuple[list[Trial], dict[int, dict[str, Any]]]:
    with closing(TrialStore(path, create=True)) as store:
        search(store, **named)
        trials = [replace(trial, proposed_at="", finished_at=None) for trial in store.trials()]
        return trials, store.second_trainings()


@pytest.mark.parametrize("schedule", ["synchronous", "asynchronous"])
def test_a_share_is_trained_twice_with_seeds_of_their_own(tmp_path: Path, schedule: Any) -> None:
    trainer = Trainer()
    trials, second = found(tmp_path / "trials.sqlite", plan=replace(PLAN, schedule=schedule), trainer=trainer)
    assert list(second) == [trial.id for trial in trials if trial.id % 2 == 0 and trial.repeat_of is None]
    assert (
        len(trainer.seeds) == len(set(trainer.seeds)) == sum(trial.repeat_of is None for trial in trials) + len(second)
    )
    assert not {child_seed(PLAN.seed, number) for number in second}.issuperset(trainer.seeds)


def test_the_trials_are_those_of_a_search_without(tmp_path: Path) -> None:
    with_second, _ = found(tmp_path / "with.sqlite")
    without, none = found(tmp_path / "without.sqlite", plan=replace(PLAN, second_share=0.0))
    assert (with_second, none) == (without, {})


def test_without_repeats_the_store_has_no_table_of_them(tmp_path: Path) -> None:
    found(tmp_path / "trials.sqlite", plan=replace(PLAN, second_share=0.0))
    with closing(TrialStore(tmp_path / "trials.sqlite")) as store:
        assert store.rows("SELECT 1 FROM sqlite_master WHERE name = 'second_trainings'") == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("writes", range(1, 24, 3))
def test_killed_at_any_write_it_ends_as_if_it_was_not(tmp_path: Path, writes: int, after: bool) -> None:
    expected = found(tmp_path / "whole.sqlite")
    with closing(MortalStore(tmp_path / "trials.sqlite", writes, after=after)) as dying, suppress(KilledError):
        search(dying)
    with closing(TrialStore(tmp_path / "trials.sqlite", create=True)) as store:
        kept = store.second_trainings()
    trainer = Trainer()
    trials, second = found(tmp_path / "trials.sqlite", trainer=trainer)
    assert (trials, second) == expected
    assert {child_seed(PLAN.seed, 2_000_000 + number) for number in kept}.isdisjoint(trainer.seeds)
    with closing(TrialStore(tmp_path / "trials.sqlite")) as store:
        replay(store, controllers.create_controller("ppo", SPACE.decision_sizes, seed=5))


@pytest.mark.parametrize(
    ("kind", "recorded"), [(FailureKind.TRAINING_DIVERGED, True), (FailureKind.WORKER_DIED, False)]
)
def test_a_trial_stands_on_its_first_training(tmp_path: Path, kind: FailureKind, recorded: bool) -> None:
    trials, second = found(tmp_path / "trials.sqlite", trainer=Trainer(kind))
    assert {trial.state for trial in trials} == {"complete"}
    assert bool(second) == recorded
    assert all(record["failure"]["kind"] == kind.value for record in second.values())
    assert noise_of(trials, 100, second).is_lower_bound


def test_second_trainings_tell_the_noise(tmp_path: Path) -> None:
    trials, second = found(tmp_path / "trials.sqlite")
    noise = noise_of(trials, 10_000, second)
    assert (noise.is_lower_bound, noise.networks) == (False, len(second))
    assert 0.005 < (noise.repeated or 0) < 0.1  # the noise is uniform over 0.097


def test_a_damaged_second_training_is_named(tmp_path: Path) -> None:
    found(tmp_path / "trials.sqlite")
    with closing(TrialStore(tmp_path / "trials.sqlite", create=True)) as store:
        store.write("UPDATE second_trainings SET training = '{\"accuracy\": 7}' WHERE trial = 2")
        with pytest.raises(StoreError, match="second training of 2"):
            store.second_trainings()


def test_networks_that_are_proposed_again_can_be_trained_again(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "name: two\nimage_size: 16\nstem_filters: 8\nstem_stride: 1\nhead_filters: 16\nblocks:\n"
        "  - {op: [mbconv3], kernel: [3, 5], skip: [identity, none], filters: [8], layers: [1], stride: 2}\n"
    )
    space, trainer = SearchSpace.load(path), Trainer()
    plan = replace(PLAN, trials=4, second_share=0.0, trains_repeats=True, max_consecutive_failures=2)
    with closing(TrialStore(tmp_path / "trials.sqlite", create=True)) as store:
        controller = controllers.create_controller("random", space.decision_sizes, seed=0)
        Search(plan, space, controller, store, trainer, Meter(), SilentObserver()).run()
        trials, best = store.trials(), store.best(9)
    assert sorted(trainer.seeds) == [child_seed(0, number) for number in (1, 2, 3, 4)]
    assert len({trial.accuracy for trial in trials}) == 4
    assert len(best) == 2  # one training of each network, not the luckiest of many
    assert not noise_of(trials, 100).is_lower_bound


def test_the_settings_make_the_plan() -> None:
    experiment = Experiment.load("quickstart")
    plan = search_plan(experiment, 2)
    assert (plan.second_share, plan.trains_repeats) == (0.0, False)
    changed = experiment.changed({"search.repeats": {"share": 0.1, "proposed_again": "train"}})
    assert changed.search.repeats == RepeatSettings(share=0.1, proposed_again="train")
    plan = search_plan(changed, 2)
    assert (plan.second_share, plan.trains_repeats) == (0.1, True)
