import json
from pathlib import Path

import pytest

from mnas.cli import main
from tests.mnas.audit.arranged import EXPERIMENT, Arranged, arranged

__all__ = ["arranged"]
SIZE = ("--networks", "6", "--seeds", "2")


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    EXPERIMENT.save(tmp_path / "mine.yaml")
    return "mine.yaml"


def test_it_prints_what_it_has_found(arranged: Arranged, experiment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", experiment, *SIZE]) == 0
    printed = capsys.readouterr()
    for text in (
        "6, each trained with 2 seeds",
        "20 trials in",
        "the full training",
        "data.train_images: 334",
        "w = -0.07 (the experiment's)",
        "- The whole search of 20 trials will take",
    ):
        assert text in printed.out
    assert "mnas: 6 networks: 12 full trainings with 2 seeds, each with a measurement, and 36 cheaper" in printed.err
    assert "mnas: search 8 of 8, image_size-8: data.image_size: 8" in printed.err
    assert Path("runs/mine-audit/full-1/trials.sqlite").exists()


def test_json_has_everything(arranged: Arranged, experiment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", experiment, *SIZE, "--json", "--run-dir", "elsewhere"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["directory"] == "elsewhere"
    assert len(document["networks"]) == 6
    assert document["full_training"]["tau"] == 1
    assert document["advice"]


def test_the_plan_alone_starts_nothing(arranged: Arranged, experiment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", experiment, *SIZE, "--plan"]) == 0
    assert "6 networks: 12 full trainings" in capsys.readouterr().out
    assert not Path("runs").exists()
    assert arranged.trained == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("--networks", "1001"), "audit at most 1000 networks with 100 seeds", id="too many networks"),
        pytest.param(("--networks", "4"), "networks: 4 tell nothing of an order; audit at least 5", id="networks"),
        pytest.param(("--seeds", "1"), "seeds: 1 tells nothing of the noise; train with at least 2", id="seeds"),
        pytest.param(("--set", "training.epoch=3"), "unknown key 'training.epoch'", id="misspelt key"),
        pytest.param(("--set", "data.reward_images=5000"), "reward_images", id="too few images"),
        pytest.param(("--set", "device=Ascend"), "search.workers is `auto`", id="unknown number of NPUs"),
    ],
)
def test_bad_input_is_said(
    arranged: Arranged, experiment: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    if "device=Ascend" in arguments:
        arguments = (*arguments, "--set", "search.workers=auto")
    assert main(["audit", experiment, *arguments]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    assert arranged.trained == []


def test_the_directory_of_a_search_is_refused(
    arranged: Arranged, experiment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    EXPERIMENT.changed({"latency.cache": False}).run("runs/search-1")
    assert main(["audit", experiment, *SIZE, "--run-dir", "runs/search-1"]) == 1
    assert "not empty and no audit" in capsys.readouterr().err
