from pathlib import Path

import pytest

from mnas.bundled_files import experiment_names, find_experiment, find_recipe, recipe_names
from mnas.cli import init, main, retrain, search
from mnas.experiment import Experiment


def test_an_experiment_is_copied_and_the_next_command_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "cifar10", "--to", "mine.yaml"]) == 0
    assert "mnas search mine.yaml" in capsys.readouterr().out
    assert Experiment.load("mine.yaml") == Experiment.load("cifar10")


def test_an_experiment_of_the_paper_is_copied_into_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "paper/cifar10_hard"]) == 0
    assert "mnas search cifar10_hard.yaml\n" in Path("cifar10_hard.yaml").read_text()


def test_quickstart_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["quickstart.yaml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cifar"], "did you mean 'cifar10'"),
        (["--data", "none"], "none: no such folder"),
        (["cifar10", "--data", "none"], "not allowed with"),
    ],
)
def test_what_cannot_be_written_is_refused(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["init", *arguments])
    except SystemExit as stop:  # argparse's way to refuse
        code = int(str(stop.code))
    assert (code, said in capsys.readouterr().err) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("help_text", [init._EPILOG, search._EPILOG], ids=["init", "search"])
def test_help_lists_the_bundled_experiments(help_text: str) -> None:
    assert f"bundled experiments: {', '.join(experiment_names())}" in " ".join(help_text.split())


def test_help_lists_the_bundled_recipes() -> None:
    assert f"bundled recipes: {', '.join(recipe_names())}\n" in retrain._EPILOG


@pytest.mark.parametrize("name", experiment_names())
def test_a_bundled_experiment_names_its_schema_and_command(name: str) -> None:
    text = find_experiment(name).read_text()
    assert text.startswith("# yaml-language-server: $schema=experiment.schema.json\n")
    assert f"mnas search {name}\n" in text


@pytest.mark.parametrize("path", [find_recipe(name) for name in recipe_names()], ids=lambda path: path.stem)
def test_a_bundled_recipe_names_its_schema(path: Path) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=recipe.schema.json\n")
