"""The exported ONNX model: the graph that phones time, with its weights and with metadata."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

import mnas
from mnas.checkpoints.checkpoint import CheckpointError
from mnas.documents.user_paths import path_text
from mnas.export.subject import Subject
from mnas.network.onnx_graph import INPUT_NAME, OUTPUT_NAME, build_onnx
from search_space import LoweredNetwork, architecture_to_dict, format_block


def onnx_bytes(subject: Subject) -> bytes:
    """Return the model with its metadata (`onnx_metadata`), batch norms folded, the batch size free."""
    model = build_onnx(subject.network, subject.checkpoint.best_weights())
    onnx.helper.set_model_props(model, onnx_metadata(subject))
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def onnx_metadata(subject: Subject) -> dict[str, str]:
    """Return the metadata of the model: text by key.

    `architecture`, `input` and `class_names` are JSON; `class_names` is there if the names are known. `weights` is
    "initial" or "trained", and `weights_from` the checkpoint of trained ones. `top1`, the accuracy of these very
    weights, is there if they were validated.
    """
    form, accuracy = subject.checkpoint.input, subject.checkpoint.accuracy
    architecture = subject.checkpoint.architecture.architecture
    prepared = {
        "layout": "NCHW",
        "color": "RGB" if form.channels == 3 else f"{form.channels} channels",
        "size": form.image_size,
        "evaluation_crop": form.evaluation_crop,
        "interpolation": form.interpolation,
        "scale": 1 / 255,
        "mean": list(form.mean),
        "std": list(form.std),
    }
    metadata = {
        "name": subject.name,
        "origin": subject.source.origin,
        "blocks": " ".join(format_block(block) for block in architecture.blocks),
        "architecture": json.dumps(architecture_to_dict(architecture)),
        "weights": "trained" if subject.is_trained else "initial",
        "input": json.dumps(prepared),
        "num_classes": str(form.num_classes),
        "mnas_version": mnas.__version__,
    }
    if subject.weights_from is not None:
        metadata["weights_from"] = path_text(subject.weights_from)
    if form.class_names is not None:
        metadata["class_names"] = json.dumps(list(form.class_names))
    if accuracy is not None:
        metadata["top1"] = f"{accuracy.top1:.6g}"
        metadata["top1_images"] = str(accuracy.images)
    return metadata


def read_onnx(path: Path, network: LoweredNetwork) -> bytes:
    """Read an exported model.

    Raises:
        CheckpointError: It is missing or damaged, or its shapes are not those of the network.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise CheckpointError(f"{path}: is no regular file; export the folder again")
    try:
        content = path.read_bytes()
        onnx.checker.check_model(content)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); export the folder again") from error
    except (ValueError, onnx.checker.ValidationError) as error:
        raise CheckpointError(f"{path}: damaged or no ONNX model; export the folder again") from error
    graph = onnx.load_model_from_string(content).graph
    found = {value.name: _shape(value) for value in (*graph.input, *graph.output)}
    image = (network.channels, network.image_size, network.image_size)
    if found != {INPUT_NAME: image, OUTPUT_NAME: (network.num_classes,)}:
        raise CheckpointError(f"{path}: takes or gives other shapes than the checkpoint's network; export again")
    return content


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Return the sizes after the batch."""
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)[1:]
