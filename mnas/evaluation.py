"""Accuracy of trained weights, by onnxruntime or by MindSpore."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mnas.data import ImageSource
from mnas.errors import DataError
from mnas.mindspore_setup import Device, mindspore_errors, prepare_mindspore
from mnas.onnx_graph import INPUT_NAME, OUTPUT_NAME, build_onnx
from mnas.weights import FloatArray, Weights
from search_space.lowering import LoweredNetwork

Engine = Literal["onnxruntime", "mindspore"]
Classify = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Evaluation:
    """Shares of images whose label is the best, or among the best five, of the logits; mean cross entropy."""

    top1: float
    top5: float
    loss: float
    images: int


def evaluate(
    network: LoweredNetwork,
    weights: Weights,
    source: ImageSource,
    *,
    device: Device = "CPU",
    engine: Engine | None = None,
    batch_size: int = 64,
    threads: int | None = None,
) -> Evaluation:
    """Evaluate weights on every image of `source`.

    `engine` None takes onnxruntime on the CPU, many times faster there and without compilation, and MindSpore on
    Ascend. `threads` None leaves the engine's default. Raises DataError where the images do not fit the network or are
    none, WeightsError where the weights do not.
    """
    check_source(network, source)
    classify: Classify
    if (engine or default_engine(device)) == "onnxruntime":
        classify = onnxruntime_classifier(network, weights, threads)
    else:
        classify = MindSporeClassifier(network, weights, batch_size, device, threads)
    return score(classify, source, batch_size)


def default_engine(device: Device) -> Engine:
    """Return the engine that is the faster one where the network was trained."""
    return "onnxruntime" if device == "CPU" else "mindspore"


def check_source(network: LoweredNetwork, source: ImageSource) -> None:
    """Raise DataError unless `source` has images, and of the form that the network is lowered for."""
    given = (source.image_size, source.channels, source.num_classes)
    needed = (network.image_size, network.channels, network.num_classes)
    if given != needed:
        raise DataError(
            f"the data has (image size, channels, classes) = {given}, the network is lowered for {needed}; "
            "make them equal"
        )
    if len(source) == 0:
        raise DataError("there are no images; give at least one")


def score(
    classify: Classify, source: ImageSource, batch_size: int, on_batch: Callable[[int], None] | None = None
) -> Evaluation:
    """Compare what `classify` makes of the images, (N, C, H, W) to logits (N, classes), with their labels.

    `on_batch` is called after each batch with the number of images done so far.
    """
    images, top1, top5, loss = 0, 0, 0, 0.0
    for batch, labels in source.evaluation_batches(batch_size):
        logits = classify(batch).astype(np.float64)
        rank = label_ranks(logits, labels)
        images += len(labels)
        top1 += int(np.count_nonzero(rank < 1))
        top5 += int(np.count_nonzero(rank < 5))
        loss += float(cross_entropies(logits, labels).sum())
        if on_batch is not None:
            on_batch(images)
    return Evaluation(top1=top1 / images, top5=top5 / images, loss=loss / images, images=images)


def label_ranks(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return, for each image, how many other classes score at least as high as its label.

    A tie counts against the label, and so does NaN: a network that answers the same for every class knows nothing.
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    return np.asarray(np.count_nonzero(~(logits < own), axis=1) - 1, np.int64)


def cross_entropies(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Return -log softmax(logits)[label] of each image."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    return np.asarray(log_sums - shifted[np.arange(len(labels)), labels], np.float64)


def onnxruntime_classifier(network: LoweredNetwork, weights: Weights, threads: int | None = None) -> Classify:
    """Return images -> logits, computed by onnxruntime on the folded graph."""
    return onnx_classifier(build_onnx(network, weights).SerializeToString(), threads)


def onnx_classifier(model: bytes, threads: int | None = None) -> Classify:
    """Return images -> logits, computed by onnxruntime on an ONNX model as `build_onnx` makes it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0 is its default, one for each core
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
        self,
        network: LoweredNetwork,
        weights: Weights,
        batch_size: int,
        device: Device = "CPU",
        threads: int | None = None,
    ) -> None:
        prepare_mindspore(device, threads)
        from mnas.network import build_network

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
