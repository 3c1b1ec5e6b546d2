from pathlib import Path

import msgspec
import pytest

import experiments
from mnas.experiment import RESUMABLE, Experiment, changed_keys, load_experiment

FOLDER = Path(experiments.__file__).parent
EXPERIMENTS = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_that_we_ship_is_valid(path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.create_controller(experiment.load_space()).ask(1)


def quickstart() -> Experiment:
    return load_experiment(FOLDER / "quickstart.yaml")


def test_an_experiment_survives_the_store() -> None:
    text = msgspec.json.encode(quickstart())
    assert msgspec.json.decode(text, type=Experiment) == quickstart()


def test_more_trials_are_no_change() -> None:
    before = quickstart()
    more = msgspec.structs.replace(before.search, trials=99)
    assert changed_keys(before, msgspec.structs.replace(before, search=more)) == []


def test_a_change_is_named_with_both_values() -> None:
    before = quickstart()
    assert changed_keys(before, msgspec.structs.replace(before, seed=3)) == ["seed: 0 -> 3"]


def test_what_decides_the_order_of_proposals_cannot_be_changed_on_resuming() -> None:
    assert RESUMABLE.isdisjoint({"search.schedule", "search.batch_size"})


def test_the_papers_protocol_is_the_papers() -> None:
    paper = load_experiment(FOLDER / "imagenet_ascend.yaml")
    assert (paper.search.trials, paper.training.epochs, paper.data.reward_images) == (8000, 5, 50_000)
    assert (paper.latency.target_ms, paper.reward.exponents) == (75, (-0.07, -0.07))
