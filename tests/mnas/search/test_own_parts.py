"""Searches with parts of the user's own: nothing is started that they replace, and a run remembers them."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

import controllers
from mnas.cli import main
from mnas.data import DigitsSettings, ImageArrays, ImageSource, Preprocessing, SearchData
from mnas.errors import ConfigurationError, DataError, FailureKind, TrialError
from mnas.experiment import Experiment, LatencySettings
from mnas.export.source import find_source
from mnas.files import RunDirectoryError
from mnas.search.driver import Progress
from mnas.search.replay import replay
from mnas.search.run import Run
from mnas.search.run_directory import open_run
from mnas.search.store import Trial
from search_space import Architecture, cost, fingerprint, lower, read_architecture

EXPERIMENT = Experiment.from_dict(
    {
        "space": "tiny16",
        "data": {"format": "digits", "image_size": 16, "reward_images": 100},
        "training": {"epochs": 1, "learning_rate": 0.01},
        "search": {"trials": 6, "workers": 2},
        "latency": {"target_ms": 1.0},
        "controller": {"name": "random"},
    }
)


def at_once(result: Mapping[str, Any]) -> Future[Mapping[str, Any]]:
    future: Future[Mapping[str, Any]] = Future()
    future.set_result(result)
    return future


class OwnTrainer:
    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        return at_once({"accuracy": (int(fingerprint(architecture), 16) % 1000) / 1000, "seed": seed})


class OwnMeter:
    def submit(self, architecture: Architecture) -> Future[Mapping[str, Any]]:
        counted = cost(lower(architecture, image_size=16, channels=1, num_classes=10))
        return at_once({"latency_ms": counted.multiply_adds / 1e6})


class OwnController:
    """Proposes the decisions of one number after the other, in the base of the decision sizes."""

    def __init__(self, decision_sizes: Sequence[int]) -> None:
        self._sizes = decision_sizes
        self._next = 0

    def ask(self, count: int) -> list[tuple[int, ...]]:
        return [self._decisions() for _ in range(count)]

    def _decisions(self) -> tuple[int, ...]:
        rest, decisions = self._next * 7919, []
        self._next += 1
        for size in self._sizes:
            rest, decision = divmod(rest, size)
            decisions.append(decision)
        return tuple(decisions)

    def tell(self, decisions: Sequence[Sequence[int]], rewards: Sequence[float]) -> None:
        pass

    def state(self) -> dict[str, controllers.StateValue]:
        return {"next": self._next}

    def restore(self, state: dict[str, controllers.StateValue]) -> None:
        self._next = int(state["next"])


def own_controller() -> OwnController:
    return OwnController(EXPERIMENT.load_space().decision_sizes)


def run_small(directory: Path, experiment: Experiment = EXPERIMENT, **parts: Any) -> Run:
    return experiment.run(directory, **{"trainer": OwnTrainer(), "latency": OwnMeter(), **parts})


def test_a_search_ends_and_writes_its_best(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run")
    assert run.counts() == {"proposed": 0, "complete": 6, "stopped": 0, "failed": 0}
    assert read_architecture(run.best_file).architecture == run.architecture(run.best())


def test_more_trials_go_on_with_it(tmp_path: Path) -> None:
    before = run_small(tmp_path / "run").trials
    run = run_small(tmp_path / "run", EXPERIMENT.changed({"search.trials": 9}))
    assert (run.trials[:6], len(run.trials)) == (before, 9)


def test_neither_ray_nor_a_phone_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tests.mnas.search.test_own_parts import run_small\n"
        f"run_small({str(tmp_path / 'run')!r})\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "mnas.search.driver" in loaded
    assert {"ray", "mindspore", "mnas.search.latency", "adb_shell"}.isdisjoint(loaded)


def test_a_phone_that_is_replaced_need_not_exist(tmp_path: Path) -> None:
    absent = msgspec.structs.replace(EXPERIMENT, latency=LatencySettings(target_ms=1.0, phone="pixel"))
    assert run_small(tmp_path / "run", absent).best().state == "complete"
    with pytest.raises(ConfigurationError, match="no phone is called 'pixel'"):
        run_small(tmp_path / "other", absent, latency=None)


def test_own_data_is_what_the_run_remembers(tmp_path: Path) -> None:
    data = DigitsSettings(image_size=16, reward_images=50).load_search()
    run = run_small(tmp_path / "run", data=data)
    assert len(run_small(tmp_path / "run", data=data).trials) == len(run.trials)
    with pytest.raises(RunDirectoryError, match="the training data has changed"):
        run_small(tmp_path / "run")


def test_own_data_is_checked(tmp_path: Path) -> None:
    data = DigitsSettings(image_size=16, reward_images=50).load_search()
    wrong: Any = SearchData(train=data.train, reward=[1, 2, 3])  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(DataError, match="data: reward is list, which is no ImageSource"):
        run_small(tmp_path / "run", data=wrong)


def test_a_run_of_own_data_tells_its_images(tmp_path: Path) -> None:
    data = DigitsSettings(image_size=16, reward_images=50).load_search()
    preprocessing = Preprocessing(crop=0, flip=False, mean=(0.4,), std=(0.2,))
    named = SearchData(
        *(replace(part, preprocessing=preprocessing) for part in (arrays(data.train), arrays(data.reward)))
    )
    run = run_small(tmp_path / "run", data=named)
    assert (run.images.mean, run.images.std, run.reward_images) == ((0.4,), (0.2,), 50)


def test_own_data_whose_parts_do_not_fit_is_refused(tmp_path: Path) -> None:
    small = DigitsSettings(image_size=16, reward_images=50).load_search()
    large = DigitsSettings(image_size=32, reward_images=50).load_search()
    with pytest.raises(DataError, match="data: image size of train: 16, of reward: 32; make them equal"):
        run_small(tmp_path / "run", data=SearchData(small.train, large.reward))


def arrays(source: ImageSource) -> ImageArrays:
    assert isinstance(source, ImageArrays)
    return source


@pytest.mark.parametrize("part", ["trainer", "latency", "controller"])
def test_a_run_is_resumed_with_its_own_parts_only(tmp_path: Path, part: str) -> None:
    parts: dict[str, Any] = {"controller": own_controller()}
    run_small(tmp_path / "run", **parts)
    other = type("Other", (OwnController, OwnTrainer), {})
    parts[part] = other(EXPERIMENT.load_space().decision_sizes)
    with pytest.raises(RunDirectoryError, match=rf"another {part} \(Own\w+ -> Other\)"):
        run_small(tmp_path / "run", **parts)


def test_a_run_of_the_experiments_controller_is_not_resumed_with_an_own_one(tmp_path: Path) -> None:
    run_small(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match=r"another controller \(that of the experiment -> OwnController\)"):
        run_small(tmp_path / "run", controller=own_controller())


def test_an_own_controller_continues_exactly(tmp_path: Path) -> None:
    whole = run_small(tmp_path / "whole", controller=own_controller())
    run_small(tmp_path / "parts", EXPERIMENT.changed({"search.trials": 3}), controller=own_controller())
    parts = run_small(tmp_path / "parts", controller=own_controller())
    assert [trial.decisions for trial in parts.trials] == [trial.decisions for trial in whole.trials]
    data = EXPERIMENT.data.load_search()
    names = {"trainer": "OwnTrainer", "latency": "OwnMeter", "controller": "OwnController"}
    with open_run(tmp_path / "parts", EXPERIMENT, data, names) as store:
        replay(store, own_controller())


class ImpatienceError(Exception):
    pass


class Impatient:
    """Stops a search when two trials have ended."""

    def __init__(self) -> None:
        self.finished: list[Trial] = []

    def trial_finished(self, trial: Trial) -> None:
        self.finished.append(trial)
        if len(self.finished) == 2:
            raise ImpatienceError

    def progress(self, progress: Progress) -> None:
        pass


def test_what_an_observer_was_told_is_there_after_it_failed(tmp_path: Path) -> None:
    observer = Impatient()
    with pytest.raises(ImpatienceError):
        run_small(tmp_path / "run", observer=observer)
    before = Run.open(tmp_path / "run").trials
    assert [trial for trial in before if trial in observer.finished] == observer.finished
    after = run_small(tmp_path / "run").trials
    assert len(after) == 6
    assert [trial for trial in after if trial in observer.finished] == observer.finished


def test_a_trial_that_a_trainer_gives_up_is_a_failed_one(tmp_path: Path) -> None:
    class Failing:
        def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
            future: Future[Mapping[str, Any]] = Future()
            future.set_exception(TrialError(FailureKind.TRAINING_DIVERGED, "as arranged"))
            return future

    run = run_small(tmp_path / "run", trainer=Failing())
    assert run.columns()["failure"] == ["training_diverged"] * 6
    with pytest.raises(RunDirectoryError, match="none of 6 trials succeeded"):
        run.best()


def test_a_finished_run_gives_back_the_trials_that_the_machine_lost(tmp_path: Path) -> None:
    class Unlucky(OwnTrainer):
        works = False

        def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
            if self.works or int(fingerprint(architecture), 16) % 2:
                return super().submit(architecture, seed)
            raise TrialError(FailureKind.WORKER_DIED, "as arranged")

    run = run_small(tmp_path / "run", trainer=Unlucky())
    complete = [trial for trial in run.trials if trial.state == "complete"]
    assert 0 < len(complete) < 6
    Unlucky.works = True
    trials = run_small(tmp_path / "run", trainer=Unlucky()).trials
    assert [trial.state for trial in trials] == ["complete"] * 6
    assert [trial for trial in trials if trial in complete] == complete


def test_a_batch_larger_than_the_images_is_refused_unless_the_trainer_is_own(tmp_path: Path) -> None:
    large = EXPERIMENT.changed({"training.batch_size": 5000})
    with pytest.raises(ConfigurationError, match="do not fill one batch of 5000"):
        run_small(tmp_path / "run", large, trainer=None)
    assert run_small(tmp_path / "run", large).best().state == "complete"


class NoisyTrainer:
    """Gives every network accuracies that its seed decides; the luckiest of a search is not the best."""

    def submit(self, architecture: Architecture, seed: int) -> Future[Mapping[str, Any]]:
        quality = (int(fingerprint(architecture), 16) % 1000) / 2000
        return at_once({"accuracy": quality + (seed * 7919 % 101) / 202})


WITH_FINALISTS = EXPERIMENT.changed({"search.finalists": {"count": 3, "extra_trainings": 12, "confidence": 0.8}})


def test_a_search_with_finalists_names_their_winner(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", WITH_FINALISTS, trainer=NoisyTrainer())
    finalists = run.finalists()
    assert {one.trial.id for one in finalists} == {
        trial.id for trial in sorted(run.trials, key=lambda trial: -(trial.reward or 0))[:3]
    }
    winner = finalists[0].trial
    assert (run.best(), run.best_trials(9)[:3]) == (winner, [one.trial for one in finalists])
    assert read_architecture(run.best_file).architecture == run.architecture(winner)
    assert find_source(str(run.directory)).trial == winner


def test_finalists_can_be_asked_of_a_finished_search_and_not_twice(tmp_path: Path) -> None:
    plain = run_small(tmp_path / "run", trainer=NoisyTrainer())
    assert plain.finalists() == []
    before = plain.trials
    found = run_small(tmp_path / "run", WITH_FINALISTS, trainer=NoisyTrainer())
    assert (found.trials, len(found.finalists())) == (before, 3)
    assert run_small(tmp_path / "run", WITH_FINALISTS, trainer=NoisyTrainer()).finalists() == found.finalists()


def test_another_question_is_answered_by_the_search_alone(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", WITH_FINALISTS, trainer=NoisyTrainer())
    assert run.best(target_ms=1.0) == max(run.trials, key=lambda trial: trial.reward or 0)


def test_mnas_best_says_what_the_finalists_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_small(tmp_path / "run", WITH_FINALISTS, trainer=NoisyTrainer())
    winner = run.finalists()[0]
    assert main(["best", str(run.directory), "--json"]) == 0
    (best,) = json.loads(capsys.readouterr().out)
    assert (best["id"], best["finalist"]["trainings"]) == (winner.trial.id, winner.standing.trainings)
    assert best["finalist"]["reward_interval"] == [winner.standing.low, winner.standing.high]
    assert main(["best", str(run.directory)]) == 0
    said = capsys.readouterr().out
    assert f"best of 3 finalists with a probability of {winner.standing.probability_best:.3f}" in said
    assert "Optimistic" not in said


@pytest.mark.parametrize(
    ("finalists", "said"),
    [
        ({"count": 7, "extra_trainings": 20}, "finalists.count: 7 finalists are more than search.trials, which is 6"),
        ({"count": 4, "extra_trainings": 3}, "extra_trainings: 3 do not train each of 4 finalists once"),
    ],
)
def test_finalists_that_cannot_be_are_refused(tmp_path: Path, finalists: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        run_small(tmp_path / "run", EXPERIMENT.changed({"search.finalists": finalists}))
    assert not (tmp_path / "run").exists()
