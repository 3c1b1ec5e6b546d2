"""Validation between the epochs of a training."""

from __future__ import annotations

import numpy as np

from mnas.data import ImageSource
from mnas.evaluation import Classify, Engine, Evaluation, check_source, onnxruntime_classifier, score
from mnas.mindspore_setup import Device, mindspore_errors, prepare_mindspore
from mnas.weights import FloatArray, Weights
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
        self._engine = engine or ("onnxruntime" if device == "CPU" else "mindspore")
        self._graph: _MindSporeGraph | None = None

    def evaluate(self, weights: Weights) -> Evaluation:
        """Evaluate weights on every image. Raises DataError where one cannot be read."""
        return score(self._classifier(weights), self._source, BATCH_SIZE)

    def _classifier(self, weights: Weights) -> Classify:
        if self._engine == "onnxruntime":
            return onnxruntime_classifier(self._network, weights, self._threads)
        if self._graph is None:
            self._graph = _MindSporeGraph(self._network, weights, self._device, self._threads)
        self._graph.load(weights)
        return self._graph.classify


class _MindSporeGraph:
    def __init__(self, network: LoweredNetwork, weights: Weights, device: Device, threads: int | None) -> None:
        prepare_mindspore(device, threads)
        from mnas.network import build_network

        self._cell = build_network(network, weights)
        self._cell.set_train(False)

    def load(self, weights: Weights) -> None:
        from mindspore import Tensor

        for parameter in self._cell.get_parameters():
            parameter.set_data(Tensor(weights[parameter.name]))

    def classify(self, images: FloatArray) -> FloatArray:
        from mindspore import Tensor

        filled = np.zeros((BATCH_SIZE, *images.shape[1:]), np.float32)  # another size would compile another graph
        filled[: len(images)] = images
        with mindspore_errors():
            return np.asarray(self._cell(Tensor(filled)).asnumpy()[: len(images)], np.float32)
