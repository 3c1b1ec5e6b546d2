from pathlib import Path

import pytest

from mnas.documents.errors import DocumentError
from mnas.errors import ConfigurationError, Error
from mnas.export.source import find_source, lineage_input
from mnas.search.store import StoreError
from search_space import SpaceError, read_architecture, reference


def test_a_run_gives_its_best_trial(searched_run: Path) -> None:
    source = find_source(str(searched_run))
    assert source.trial is not None
    assert (source.trial.id, source.architecture.name, source.architecture.space) == (2, "trial 2 of digits", "tiny16")
    assert source.architecture.indices == source.trial.decisions


def test_a_trial_of_a_run_can_be_chosen(searched_run: Path) -> None:
    source = find_source(str(searched_run), 1)
    assert source.origin == f"trial 1 of the search in {searched_run}"
    lineage = source.architecture.lineage
    assert (lineage["run"], lineage["trial"], lineage["accuracy"], lineage["latency_ms"], lineage["reward"]) == (
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


def test_the_best_file_of_a_search_tells_the_size_of_its_images() -> None:
    form = lineage_input({"input": {"image_size": 32, "channels": 3, "num_classes": 10}}, "best.yaml")
    assert (form.image_size, form.num_classes, form.evaluation_crop) == (32, 10, 1.0)


def test_an_exported_file_tells_the_whole_preparation() -> None:
    told = {
        "image_size": 32,
        "channels": 3,
        "num_classes": 10,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
        "evaluation_crop": 0.9,
        "interpolation": "bicubic",
    }
    form = lineage_input({"input": told}, "architecture.yaml")
    assert (form.mean, form.std) == ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert (form.evaluation_crop, form.interpolation) == (0.9, "bicubic")


def test_a_wrong_input_in_lineage_is_named() -> None:
    with pytest.raises(DocumentError, match=r"mine\.yaml: lineage\.input: 'image_size' is 'big'"):
        lineage_input({"input": {"image_size": "big", "channels": 3, "num_classes": 10}}, "mine.yaml")
