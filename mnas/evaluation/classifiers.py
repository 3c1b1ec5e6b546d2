"""From images to logits, by onnxruntime or by MindSpore."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from mnas.mindspore_setup import Compute, mindspore_errors, prepare_mindspore
from mnas.network.onnx_graph import INPUT_NAME, OUTPUT_NAME, build_onnx
from mnas.network.weights import FloatArray, Weights, check_weights
from search_space.lowering import LoweredNetwork

Engine = Literal["onnx", "mindspore"]
"""What computes logits: `onnx`, the ONNX graph by onnxruntime on the CPU, or `mindspore` on the device."""

Classify = Callable[[FloatArray], FloatArray]


def default_engine(compute: Compute) -> Engine:
    """Return the faster engine on a device."""
    return "onnx" if compute.device == "CPU" else "mindspore"


def onnx_classifier(network: LoweredNetwork, weights: Weights, compute: Compute = Compute()) -> Classify:
    """Return a function from images to logits that runs the folded graph of a network by onnxruntime.

    Raises WeightsError if the weights are those of another network.
    """
    return onnx_model_classifier(build_onnx(network, weights).SerializeToString(), compute)


def onnx_model_classifier(model: bytes, compute: Compute = Compute()) -> Classify:
    """Return a function from images to logits that runs an ONNX model of `build_onnx` by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = compute.threads or 0  # 0 is its default, one for each core
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def classify(images: FloatArray) -> FloatArray:
        return np.asarray(session.run([OUTPUT_NAME], {INPUT_NAME: images})[0], np.float32)

    return classify


class MindSporeClassifier:
    """Turns images into logits by MindSpore, in batches of exactly `batch_size`.

    A call takes at most `batch_size` images. When a classifier is deleted, MindSpore compiles other graphs of the
    process again at their next call: between the epochs of a training, keep one and give it new weights.
    """

    def __init__(
        self, network: LoweredNetwork, weights: Weights, batch_size: int, compute: Compute = Compute()
    ) -> None:
        """Build the network. Raises WeightsError if the weights are those of another network."""
        prepare_mindspore(compute)
        from mnas.network.mindspore_cell import build_network

        self._network, self._batch_size = network, batch_size
        self._cell = build_network(network, weights, npu=compute.device == "Ascend")
        self._cell.set_train(False)

    def load(self, weights: Weights) -> None:
        """Replace the weights; the compiled graph stays. Raises WeightsError as the constructor does."""
        from mnas.network.weight_vector import load_arrays

        check_weights(self._network, weights)
        load_arrays(self._cell, weights)

    def __call__(self, images: FloatArray) -> FloatArray:
        """Return the logits (N, classes) of images (N, C, H, W)."""
        from mindspore import Tensor

        # A batch of another size would compile another graph.
        filled = np.zeros((self._batch_size, *images.shape[1:]), np.float32)
        filled[: len(images)] = images
        with mindspore_errors():
            return np.asarray(self._cell(Tensor(filled)).asnumpy()[: len(images)], np.float32)
