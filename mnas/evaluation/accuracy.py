"""Accuracy of trained weights, by onnxruntime or by MindSpore."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnas.data import ImageSource
from mnas.data.source import check_source
from mnas.evaluation.classifiers import Classify, Engine, MindSporeClassifier, default_engine, onnxruntime_classifier
from mnas.mindspore_setup import Compute
from mnas.network.weights import Weights
from search_space.lowering import LoweredNetwork


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
    engine: Engine | None = None,
    batch_size: int = 64,
    compute: Compute = Compute(),
) -> Evaluation:
    """Evaluate weights on every image of `source`.

    `engine` None takes onnxruntime on the CPU, many times faster there and without compilation, and MindSpore on
    Ascend. Raises DataError where the images do not fit the network or are
    none, WeightsError where the weights do not.
    """
    check_source(network, source)
    classify: Classify
    if (engine or default_engine(compute)) == "onnxruntime":
        classify = onnxruntime_classifier(network, weights, compute)
    else:
        classify = MindSporeClassifier(network, weights, batch_size, compute)
    return score(classify, source, batch_size)


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


BATCH_SIZE = 64


class Validator:
    """Evaluates weights after weights on one test set.

    `engine` None takes onnxruntime on the CPU, many times faster there and without compilation, and on Ascend one
    MindSpore graph that is compiled once and given new weights.
    """

    def __init__(
        self,
        network: LoweredNetwork,
        source: ImageSource,
        engine: Engine | None = None,
        compute: Compute = Compute(),
    ) -> None:
        """Raise DataError where the images do not fit the network or are none."""
        check_source(network, source)
        self._network, self._source, self._compute = network, source, compute
        self._engine = engine or default_engine(compute)
        self._graph: MindSporeClassifier | None = None

    def evaluate(self, weights: Weights) -> Evaluation:
        """Evaluate weights on every image. Raises DataError where one cannot be read."""
        return score(self._classifier(weights), self._source, BATCH_SIZE)

    def _classifier(self, weights: Weights) -> Classify:
        if self._engine == "onnxruntime":
            return onnxruntime_classifier(self._network, weights, self._compute)
        if self._graph is None:
            self._graph = MindSporeClassifier(self._network, weights, BATCH_SIZE, self._compute)
        else:
            self._graph.load(weights)
        return self._graph
