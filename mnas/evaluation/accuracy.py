"""The accuracy of trained weights on a set of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnas.data import ImageSource
from mnas.data.source import check_source
from mnas.evaluation.classifiers import (
    Classify,
    Engine,
    MindSporeClassifier,
    default_engine,
    onnx_classifier,
    onnx_model_classifier,
)
from mnas.mindspore_setup import Compute
from mnas.network.weights import Weights
from search_space.lowering import LoweredNetwork

BATCH_SIZE = 64


@dataclass(frozen=True)
class Evaluation:
    """The accuracy of a network on a set of images.

    Attributes:
        top1: Share of the images whose label has the best logit, 0 to 1.
        top5: Share of the images whose label is among the best five, 0 to 1.
        loss: Mean cross entropy.
        images: Number of images.
    """

    top1: float
    top5: float
    loss: float
    images: int


class Evaluator:
    """Evaluates the weights of one network on one set of images, as often as needed.

    The engine `onnx` runs a new onnxruntime session for each set of weights. The engine `mindspore` compiles one graph
    at the first evaluation and gives it the weights of the next.

    Attributes:
        engine: What computes.
    """

    def __init__(
        self,
        network: LoweredNetwork,
        source: ImageSource,
        engine: Engine | None = None,
        compute: Compute = Compute(),
        *,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        """Check the images and choose the engine.

        Args:
            network: The network that the weights belong to.
            source: The images and their labels.
            engine: What computes. None takes `onnx` on the CPU, where it is many times faster and compiles nothing,
                and `mindspore` on Ascend.
            compute: The device of `mindspore`, and the threads of either engine.
            batch_size: Images at a time.

        Raises:
            DataError: There are no images, or they do not fit the network.
        """
        check_source(network, source)
        self.engine: Engine = engine or default_engine(compute)
        self._network, self._source = network, source
        self._compute, self._batch_size = compute, batch_size
        self._graph: MindSporeClassifier | None = None

    def evaluate(self, weights: Weights, on_batch: Callable[[int], None] | None = None) -> Evaluation:
        """Evaluate weights on every image.

        Args:
            weights: The weights of the network.
            on_batch: Called after each batch with the number of images done so far.

        Raises:
            DataError: An image cannot be read.
            WeightsError: The weights are those of another network.
        """
        return self._score(self._classifier(weights), on_batch)

    def evaluate_onnx(self, model: bytes, on_batch: Callable[[int], None] | None = None) -> Evaluation:
        """Evaluate a ready ONNX model of the network by onnxruntime, such as that of an exported folder."""
        return self._score(onnx_model_classifier(model, self._compute), on_batch)

    def _score(self, classify: Classify, on_batch: Callable[[int], None] | None) -> Evaluation:
        return score(classify, self._source, self._batch_size, on_batch)

    def _classifier(self, weights: Weights) -> Classify:
        if self.engine == "onnx":
            return onnx_classifier(self._network, weights, self._compute)
        if self._graph is None:
            self._graph = MindSporeClassifier(self._network, weights, self._batch_size, self._compute)
        else:
            self._graph.load(weights)
        return self._graph


def score(
    classify: Classify, source: ImageSource, batch_size: int, on_batch: Callable[[int], None] | None = None
) -> Evaluation:
    """Compare the answers of `classify` with the labels of the images.

    Args:
        classify: Turns images (N, C, H, W) into logits (N, classes).
        source: The images and their labels.
        batch_size: Images at a time.
        on_batch: Called after each batch with the number of images done so far.
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

    A tie counts against the label, and so does NaN: a network that answers the same for every class is never right.
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    return np.asarray(np.count_nonzero(~(logits < own), axis=1) - 1, np.int64)


def cross_entropies(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Return -log softmax(logits)[label] of each image."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    return np.asarray(log_sums - shifted[np.arange(len(labels)), labels], np.float64)
