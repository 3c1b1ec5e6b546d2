"""Validation between the epochs of a training."""

from __future__ import annotations

from mnas.data import ImageSource
from mnas.evaluation import (
    Classify,
    Engine,
    Evaluation,
    MindSporeClassifier,
    check_source,
    default_engine,
    onnxruntime_classifier,
    score,
)
from mnas.mindspore_setup import Device
from mnas.weights import Weights
from search_space.lowering import LoweredNetwork

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
        device: Device = "CPU",
        threads: int | None = None,
        engine: Engine | None = None,
    ) -> None:
        """Raise DataError where the images do not fit the network or are none."""
        check_source(network, source)
        self._network, self._source, self._device, self._threads = network, source, device, threads
        self._engine = engine or default_engine(device)
        self._graph: MindSporeClassifier | None = None

    def evaluate(self, weights: Weights) -> Evaluation:
        """Evaluate weights on every image. Raises DataError where one cannot be read."""
        return score(self._classifier(weights), self._source, BATCH_SIZE)

    def _classifier(self, weights: Weights) -> Classify:
        if self._engine == "onnxruntime":
            return onnxruntime_classifier(self._network, weights, self._threads)
        if self._graph is None:
            self._graph = MindSporeClassifier(self._network, weights, BATCH_SIZE, self._device, self._threads)
        else:
            self._graph.load(weights)
        return self._graph
