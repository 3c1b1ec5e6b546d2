"""`mnas retrain RUN --top K` as users run it; a stand-in trains the networks."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import yaml

from mnas.cli import main
from mnas.errors import FailureKind, TrialError
from mnas.retrain import top_workers
from tests.mnas.retrain.top_stand_in import RECIPE, StandInTrainer, top1_of


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> StandInTrainer:
    """What trains instead of Ray's workers."""
    stand_in = StandInTrainer()

    @contextmanager
    def in_place_of_ray(*arguments: object) -> Iterator[tuple[StandInTrainer, Callable[[], None]]]:
        yield stand_in, lambda: None

    monkeypatch.setattr(top_workers, "ray_trainer", in_place_of_ray)
    return stand_in


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "digits.yaml"
    path.write_text(yaml.safe_dump({"data": {"format": "digits", "image_size": 16}, **TRAINING}))
    return path


TRAINING = {"training": msgspec.to_builtins(RECIPE.training)}


def command(run: Path, recipe: Path, *options: str) -> list[str]:
    directory = recipe.parent / "top"
    return ["retrain", str(run), "--top", "2", "--recipe", str(recipe), "--run-dir", str(directory), *options]


def test_the_table_has_the_networks_and_the_winner(
    searched_run: Path, recipe: Path, trainer: StandInTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(searched_run, recipe)) == 0
    assert trainer.trials == [2, 1]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["trial", "proxy_accuracy", "top1", "latency_ms", "target"]
    assert lines[1].split() == ["2", "0.6000", f"{100 * top1_of(2):.2f}%", "2.1000", "missed"]


def test_json_has_every_number(
    searched_run: Path, recipe: Path, trainer: StandInTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(searched_run, recipe, "--json")) == 0
    document = json.loads(capsys.readouterr().out)
    first = document["networks"][0]
    assert (first["trial"], first["top1"], first["checkpoint"]) == (
        2,
        top1_of(2),
        str(recipe.parent / "top" / "trial-2" / "last.safetensors"),
    )
    assert (document["kendall_tau"], document["winner"]) == (1.0, None)


def test_a_failure_is_in_the_table_and_in_the_exit_code(
    searched_run: Path, recipe: Path, trainer: StandInTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.errors[2] = TrialError(FailureKind.TRAINING_DIVERGED, "the loss is nan")
    assert main(command(searched_run, recipe)) == 1
    captured = capsys.readouterr()
    assert "trial 2  failed (training_diverged): the loss is nan" in captured.out
    assert "1 of 2  trial" in captured.err
    assert len(trainer.trials) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top", "0"], "must be at least 1"),
        (["--top", "3"], "has 2 complete networks"),
        (["--trial", "1"], "leave out --trial"),
        (["--cards", "2"], "leave out --trial, --cards"),
        (["--width", "0.5"], "leave out --trial, --cards and --width"),
        (["--recipe", "cifar10", "--data", "none"], "no such folder"),
        (["--recipe", "nowhere.yaml"], "nowhere.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_told_in_one_line(
    searched_run: Path,
    recipe: Path,
    trainer: StandInTrainer,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    try:
        code = main(command(searched_run, recipe, *options))
    except SystemExit as stop:  # argparse's way to refuse
        code = int(str(stop.code))
    captured = capsys.readouterr()
    assert (code, captured.out, trainer.trials) == (2, "", [])
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("run", ["nowhere", "empty", "mnasnet-a1"])
def test_only_a_run_has_best_networks(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: str
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(command(tmp_path / run, recipe)) == 2
    assert "no run of a search; give its run directory" in capsys.readouterr().err


def test_other_trainings_in_the_directory_are_refused(
    searched_run: Path, recipe: Path, trainer: StandInTrainer, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(searched_run, recipe))
    assert main(command(searched_run, recipe, "--top", "1")) == 2
    assert "number of networks: 2 -> 1" in capsys.readouterr().err


def test_options_of_top_need_it(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrain", "mnasnet-a1", "--recipe", str(recipe), "--workers", "2"]) == 2
    assert "are for --top" in capsys.readouterr().err
