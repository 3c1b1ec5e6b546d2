import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from mnas.checkpoints.checkpoint import read_checkpoint
from mnas.checkpoints.mindspore import read_mindspore_weights
from mnas.errors import ConfigurationError, WeightsError
from mnas.evaluation.classifiers import MindSporeClassifier
from mnas.export import folder as folder_module
from mnas.export.folder import Exported, ExportError, export
from mnas.export.mindir import run_mindir
from mnas.export.recipe_file import recipe_for
from mnas.export.source import find_source
from mnas.export.subject import Adaptation, Subject, subject_of
from mnas.retrain.recipe import load_recipe
from search_space import read_architecture

FILES = (
    "README.md",
    "architecture.yaml",
    "checkpoint.safetensors",
    "model.mindir",
    "model.onnx",
    "network.svg",
    "weights.ckpt",
)


@pytest.fixture(scope="module")
def subject(searched_run: Path) -> Subject:
    return subject_of(find_source(str(searched_run)), Adaptation(), None)


@pytest.fixture(scope="module")
def exported(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(subject, tmp_path_factory.mktemp("exports") / "found")


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((2, 1, 16, 16)).astype(np.float32)


def test_the_folder_has_every_file_and_no_other(exported: Exported) -> None:
    assert exported.files == FILES
    assert sorted(os.listdir(exported.folder)) == list(FILES)


def test_nothing_is_left_beside_the_folder(exported: Exported) -> None:
    assert os.listdir(exported.folder.parent) == ["found"]


def test_files_may_be_replaced_by_their_owner(exported: Exported) -> None:
    assert all(path.stat().st_mode & 0o200 for path in exported.folder.iterdir())


def test_the_architecture_reads_back_with_its_lineage(subject: Subject, exported: Exported) -> None:
    read = read_architecture(exported.folder / "architecture.yaml")
    assert read.architecture == subject.checkpoint.architecture.architecture
    assert read.lineage == subject.checkpoint.architecture.lineage


def test_an_exported_architecture_exports_again_with_its_latencies(exported: Exported) -> None:
    again = subject_of(find_source(str(exported.folder / "architecture.yaml")), Adaptation(), None)
    assert [record.phone.name for record in again.latencies()] == ["host", "pixel6"]


def test_all_formats_answer_alike(subject: Subject, exported: Exported, images: NDArray[np.float32]) -> None:
    expected = MindSporeClassifier(subject.network, subject.checkpoint.weights, batch_size=2)(images)
    session = onnxruntime.InferenceSession(exported.folder / "model.onnx")
    np.testing.assert_allclose(session.run(None, {"input": images})[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run_mindir(exported.folder / "model.mindir", images), expected, rtol=1e-4, atol=1e-5)


def test_mindir_takes_any_batch_size(exported: Exported, images: NDArray[np.float32]) -> None:
    path = exported.folder / "model.mindir"
    np.testing.assert_allclose(run_mindir(path, images[:1]), run_mindir(path, images)[:1], rtol=1e-5, atol=1e-6)


def test_both_checkpoints_hold_the_weights(subject: Subject, exported: Exported) -> None:
    ours = read_checkpoint(exported.folder / "checkpoint.safetensors").weights
    mindspores = read_mindspore_weights(exported.folder / "weights.ckpt")
    for name, value in subject.checkpoint.weights.items():
        np.testing.assert_array_equal(ours[name], value)
        np.testing.assert_array_equal(mindspores[name], value)


def test_the_card_lists_the_files_that_are_there(exported: Exported) -> None:
    card = (exported.folder / "README.md").read_text()
    assert sorted(line.split()[1] for line in card.partition("## Files")[2].splitlines() if "." in line[:20]) == list(
        FILES
    )


def test_an_existing_folder_is_not_touched(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigurationError, match=r"mine: exists already.*--force"):
        export(subject, tmp_path / "mine")


def test_force_replaces_an_exported_folder(subject: Subject, tmp_path: Path) -> None:
    old = export(subject, tmp_path / "found").folder
    (old / "model.onnx").write_bytes(b"old")
    export(subject, old, force=True)
    assert (old / "model.onnx").read_bytes() != b"old"
    assert os.listdir(tmp_path) == ["found"]


def test_force_spares_what_no_export_has_written(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"holds 'thesis\.txt'"):
        export(subject, tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"


def test_parents_are_made(subject: Subject, tmp_path: Path) -> None:
    assert export(subject, tmp_path / "some" / "where" / "found").folder.is_dir()


def test_a_parent_that_cannot_be_made_is_named(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"file/found: cannot be written"):
        export(subject, tmp_path / "file" / "found")


def test_a_failure_leaves_nothing_behind(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_module, "write_mindir", fail)
    with pytest.raises(KeyboardInterrupt):
        export(subject, tmp_path / "found")
    assert os.listdir(tmp_path) == []


def test_a_failure_keeps_the_folder_that_was_there(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "found"
    old.mkdir()
    (old / "model.onnx").write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module, "write_mindir", fail)
    with pytest.raises(ExportError, match="No space left on device"):
        export(subject, old, force=True)
    assert (old / "model.onnx").read_bytes() == b"old"


def test_the_old_folder_comes_back_where_the_new_one_cannot_be_put_in_place(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "found"
    old.mkdir()
    (old / "model.onnx").write_bytes(b"old")
    rename = os.rename

    def fail_for_the_new(source: str | Path, target: str | Path) -> None:
        if Path(source).name == "new":
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr("mnas.files._exchanged", lambda one, other: False)
    monkeypatch.setattr(os, "rename", fail_for_the_new)
    with pytest.raises(ExportError, match="No space left on device"):
        export(subject, old, force=True)
    assert (old / "model.onnx").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["found"]


def test_a_network_that_always_answers_zero_is_exported(subject: Subject, tmp_path: Path) -> None:
    zeros = {name: np.zeros_like(value) for name, value in subject.checkpoint.weights.items()}
    silent = replace(subject, checkpoint=replace(subject.checkpoint, weights=zeros))
    assert export(silent, tmp_path / "silent").difference == 0


def test_weights_that_are_no_numbers_are_not_exported(subject: Subject, tmp_path: Path) -> None:
    weights = {**subject.checkpoint.weights}
    weights["classifier.bias"] = np.full(10, np.nan, np.float32)
    broken = replace(subject, checkpoint=replace(subject.checkpoint, weights=weights))
    with pytest.raises(ExportError, match="differ by nan"):
        export(broken, tmp_path / "found")
    assert os.listdir(tmp_path) == []


def test_mindcv_names_are_refused_for_a_network_that_mindcv_does_not_have(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="MindCV's mnasnet has no such layer"):
        export(subject, tmp_path / "found", mindcv=True)
    assert os.listdir(tmp_path) == []


def test_a_recipe_is_written_on_request(subject: Subject, tmp_path: Path) -> None:
    template = tmp_path / "mine.yaml"
    template.write_text("data: {format: digits}\ntraining: {epochs: 3, learning_rate: 0.1}\n")
    recipe = recipe_for(template, subject.source, subject.checkpoint.input)
    written = export(subject, tmp_path / "found", recipe=recipe)
    assert load_recipe(written.folder / "recipe.yaml") == recipe.recipe
    assert "`mnas retrain architecture.yaml --recipe recipe.yaml" in (written.folder / "README.md").read_text()


def test_mindcv_names_are_written_on_request(tmp_path: Path) -> None:
    small = subject_of(find_source("mnasnet-b1"), Adaptation(width=0.5, image_size=32, num_classes=10), None)
    written = export(small, tmp_path / "b1", mindcv=True).folder
    weights = read_mindspore_weights(written / "weights_mindcv.ckpt")
    np.testing.assert_array_equal(weights["features.0.weight"], small.checkpoint.weights["stem.conv.weight"])
