"""From images to logits, by onnxruntime or by MindSpore."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from mnas.mindspore_setup import Compute, mindspore_errors, prepare_mindspore
from mnas.network.onnx_graph import INPUT_NAME, OUTPUT_NAME, build_onnx
from mnas.network.weights import FloatArray, Weights
from search_space.lowering import LoweredNetwork

Engine = Literal["onnxruntime", "mindspore"]
Classify = Callable[[FloatArray], FloatArray]


def default_engine(compute: Compute) -> Engine:
    """Return the engine that is the faster one where the network was trained."""
    return "onnxruntime" if compute.device == "CPU" else "mindspore"


def onnxruntime_classifier(network: LoweredNetwork, weights: Weights, compute: Compute = Compute()) -> Classify:
    """Return images -> logits, computed by onnxruntime on the folded graph."""
    return onnx_classifier(build_onnx(network, weights).SerializeToString(), compute)


def onnx_classifier(model: bytes, compute: Compute = Compute()) -> Classify:
    """Return images -> logits, computed by onnxruntime on an ONNX model as `build_onnx` makes it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = compute.threads or 0  # 0 is its default, one for each core
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def classify(images: FloatArray) -> FloatArray:
        return np.asarray(session.run([OUTPUT_NAME], {INPUT_NAME: images})[0], np.float32)

    return classify


class MindSporeClassifier:
    """Images -> logits, computed by MindSpore in batches of exactly `batch_size`; called with at most so many images.

    Dropping it makes MindSpore compile other graphs of the process again at their next call: between the epochs of a
    training, keep one and give it new weights.
    """

    def __init__(
        self, network: LoweredNetwork, weights: Weights, batch_size: int, compute: Compute = Compute()
    ) -> None:
        prepare_mindspore(compute)
        from mnas.network.mindspore_cell import build_network

        self._batch_size = batch_size
        self._cell = build_network(network, weights)
        self._cell.set_train(False)

    def load(self, weights: Weights) -> None:
        """Go on with other weights of the same network, by the graph that is compiled."""
        from mindspore import Tensor

        for parameter in self._cell.get_parameters():
            parameter.set_data(Tensor(weights[parameter.name]))

    def __call__(self, images: FloatArray) -> FloatArray:
        """Return the logits (N, classes) of images (N, C, H, W)."""
        from mindspore import Tensor

        # A batch of another size would compile another graph.
        filled = np.zeros((self._batch_size, *images.shape[1:]), np.float32)
        filled[: len(images)] = images
        with mindspore_errors():
            return np.asarray(self._cell(Tensor(filled)).asnumpy()[: len(images)], np.float32)
