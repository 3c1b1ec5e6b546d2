"""MindIR, the graph with weights that MindSpore Lite and Ascend's converters read."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from mnas.mindspore_setup import mindspore_errors, prepare_mindspore
from mnas.network.weights import FloatArray, Weights
from search_space import LoweredNetwork


def write_mindir(path: Path, network: LoweredNetwork, weights: Weights) -> None:
    """Write the inference graph of a network with a free batch size.

    Raises:
        TrainingError: MindSpore failed.
    """
    prepare_mindspore()
    import mindspore

    from mnas.network.mindspore_cell import build_network

    cell = build_network(network, weights)
    cell.set_train(False)
    images = mindspore.Tensor(
        shape=[None, network.channels, network.image_size, network.image_size], dtype=mindspore.float32
    )
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # MindSpore refuses a path with a space, an accent and the like.
        plain = f"/proc/self/fd/{folder}/{path.name}"
        with mindspore_errors():
            mindspore.export(cell, images, file_name=plain, file_format="MINDIR")
    finally:
        os.close(folder)
    path.chmod(0o644)  # MindSpore leaves it without the right to write


def run_mindir(path: Path, images: FloatArray) -> FloatArray:
    """Load a MindIR file and return the logits (N, classes) of images (N, channels, size, size)."""
    prepare_mindspore()
    import mindspore

    # MindSpore cannot open a path that is no UTF-8.
    with tempfile.TemporaryDirectory(prefix="mnas-mindir-") as folder, mindspore_errors():
        copy = shutil.copy(path, Path(folder, "model.mindir"))
        cell = mindspore.nn.GraphCell(mindspore.load(str(copy)))
        return np.asarray(cell(mindspore.Tensor(images)).asnumpy(), np.float32)
