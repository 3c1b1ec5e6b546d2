from pathlib import Path

import pytest

from mnas.documents.errors import DocumentError
from mnas.errors import ConfigurationError, Error
from mnas.export.source import find_source
from mnas.search.run import Run
from mnas.search.store import StoreError
from search_space import SpaceError, read_architecture, reference, write_architecture


def test_a_run_gives_its_best_trial(searched_run: Path) -> None:
    source = find_source(str(searched_run))
    assert source.trial is not None
    assert (source.trial.id, source.architecture.name, source.architecture.space) == (2, "trial 2 of digits", "tiny16")
    assert source.architecture.indices == source.trial.decisions


def test_a_trial_of_a_run_can_be_chosen(searched_run: Path) -> None:
    source = find_source(str(searched_run), 1)
    assert source.origin == f"trial 1 of the search in {searched_run}"
    found = source.provenance
    assert (found.run, found.trial, found.accuracy, found.latency_ms, found.reward) == (
        str(searched_run),
        1,
        0.3,
        2.1,
        0.28,
    )


def test_a_run_tells_the_images_that_it_searched_for(searched_run: Path) -> None:
    form = find_source(str(searched_run)).input
    assert (form.image_size, form.channels, form.num_classes, form.mean) == (16, 1, 10, (0.3054,))
    assert form.class_names == tuple("0123456789")


def test_a_failed_trial_is_refused(searched_run: Path) -> None:
    with pytest.raises(Error, match="trial 3 is failed"):
        find_source(str(searched_run), 3)


def test_a_trial_that_there_is_not_is_refused(searched_run: Path) -> None:
    with pytest.raises(StoreError, match="no trial 99"):
        find_source(str(searched_run), 99)


def test_a_reference_is_found_by_name() -> None:
    source = find_source("mnasnet-a1")
    assert source.architecture.architecture == reference("mnasnet-a1").architecture
    assert (source.input.image_size, source.input.num_classes) == (224, 1000)


def test_only_a_run_has_trials() -> None:
    with pytest.raises(ConfigurationError, match=r"--trial: mnasnet-a1 is no run directory"):
        find_source("mnasnet-a1", 1)


def test_a_wrong_name_is_answered_with_the_right_ones() -> None:
    with pytest.raises(SpaceError, match="mnasnet-a1"):
        find_source("mnasnet-a7")


def test_a_missing_run_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"runs/none: no such run directory"):
        find_source("runs/none")


def written(path: Path, lineage: str = "{}", name: str = "") -> Path:
    path.write_text(f"{name}blocks: [r1_k3_s11_e1_i32_o16]\nlineage: {lineage}\n")
    return path


def test_a_nameless_file_is_called_after_itself(tmp_path: Path) -> None:
    assert find_source(str(written(tmp_path / "mine.yaml"))).architecture.name == "mine"


def test_a_file_keeps_its_name(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", name="name: ours\n")
    assert find_source(str(path)).architecture == read_architecture(path)


def test_a_file_without_lineage_is_taken_for_imagenet(tmp_path: Path) -> None:
    form = find_source(str(written(tmp_path / "mine.yaml"))).input
    assert (form.image_size, form.num_classes, form.evaluation_crop) == (224, 1000, 0.875)


def test_a_file_tells_the_images_that_it_was_found_for(tmp_path: Path) -> None:
    path = written(tmp_path / "best.yaml", "{input: {image_size: 32, channels: 3, num_classes: 10}}")
    form = find_source(str(path)).input
    assert (form.image_size, form.num_classes, form.evaluation_crop) == (32, 10, 1.0)


def test_the_file_of_the_best_trial_prepares_images_as_the_search_did(searched_run: Path, tmp_path: Path) -> None:
    run = Run.open(searched_run)
    write_architecture(tmp_path / "best.yaml", run.architecture_file(run.best()))
    form = find_source(str(tmp_path / "best.yaml")).input
    assert form == run.images


def test_a_wrong_lineage_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", "{input: {image_size: big, channels: 3, num_classes: 10}}")
    with pytest.raises(DocumentError, match=r"mine\.yaml: lineage: 'input\.image_size' is 'big'"):
        find_source(str(path))
