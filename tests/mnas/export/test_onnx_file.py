import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import onnx
import onnxruntime
import pytest

from mnas.checkpoints.checkpoint import Accuracy, CheckpointError
from mnas.export.onnx_file import onnx_bytes, read_onnx
from mnas.export.source import find_source
from mnas.export.subject import Adaptation, Subject, subject_of
from mnas.network.onnx_graph import build_onnx
from search_space import architecture_from_dict


@pytest.fixture
def subject(searched_run: Path) -> Subject:
    return subject_of(find_source(str(searched_run)), Adaptation(), None)


def metadata(subject: Subject) -> dict[str, str]:
    """What onnxruntime, as a phone has it, reads."""
    found: dict[str, str] = onnxruntime.InferenceSession(onnx_bytes(subject)).get_modelmeta().custom_metadata_map
    return found


def test_the_model_says_which_network_it_is(subject: Subject) -> None:
    told = metadata(subject)
    assert (told["name"], told["num_classes"], told["weights"]) == ("trial 2 of digits", "10", "initial")
    architecture = subject.checkpoint.architecture.architecture
    assert architecture_from_dict(json.loads(told["architecture"])) == architecture
    assert len(told["blocks"].split()) == len(architecture.blocks)


def test_the_model_says_how_images_are_prepared(subject: Subject) -> None:
    prepared = json.loads(metadata(subject)["input"])
    assert prepared["mean"] == [0.3054]
    assert prepared["std"] == [0.3755]
    assert (prepared["layout"], prepared["size"]) == ("NCHW", 16)


def test_an_untrained_model_claims_no_accuracy(subject: Subject) -> None:
    assert "top1" not in metadata(subject)


def test_a_validated_model_tells_its_accuracy(subject: Subject) -> None:
    accuracy = Accuracy(top1=0.915, top5=0.99, loss=0.3, images=360, of_ema=False)
    trained = replace(
        subject, checkpoint=replace(subject.checkpoint, accuracy=accuracy), weights_from=Path("best.safetensors")
    )
    told = metadata(trained)
    assert (told["weights"], told["top1"], told["top1_images"]) == ("trained", "0.915", "360")


def test_names_of_classes_are_told_where_they_are_known(subject: Subject) -> None:
    assert json.loads(metadata(subject)["class_names"]) == list("0123456789")
    form = msgspec.structs.replace(subject.checkpoint.input, class_names=None)
    unnamed = replace(subject, checkpoint=replace(subject.checkpoint, input=form))
    assert "class_names" not in metadata(unnamed)


def test_an_exported_model_reads_back(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(onnx_bytes(subject))
    assert read_onnx(tmp_path / "model.onnx", subject.network) == onnx_bytes(subject)


@pytest.mark.parametrize("content", [b"", b"no model", "half"], ids=["empty", "text", "truncated"])
def test_a_damaged_model_is_refused(subject: Subject, tmp_path: Path, content: bytes | str) -> None:
    whole = onnx_bytes(subject)
    (tmp_path / "model.onnx").write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"model\.onnx: damaged or no ONNX model"):
        read_onnx(tmp_path / "model.onnx", subject.network)


def test_a_missing_model_is_named(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.onnx: cannot be read"):
        read_onnx(tmp_path / "model.onnx", subject.network)


def test_a_model_of_another_form_is_refused(subject: Subject, searched_run: Path, tmp_path: Path) -> None:
    other = subject_of(find_source(str(searched_run)), Adaptation(num_classes=7), None)
    (tmp_path / "model.onnx").write_bytes(onnx_bytes(other))
    with pytest.raises(CheckpointError, match="other shapes"):
        read_onnx(tmp_path / "model.onnx", subject.network)


def test_the_graph_is_the_one_that_latency_was_measured_on(subject: Subject) -> None:
    timed, exported = build_onnx(subject.network), onnx.load_model_from_string(onnx_bytes(subject))
    assert [node.op_type for node in exported.graph.node] == [node.op_type for node in timed.graph.node]


def test_a_pipe_in_place_of_a_model_is_refused(subject: Subject, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match=r"model\.onnx: is no regular file"):
        read_onnx(tmp_path / "model.onnx", subject.network)
