"""Batch-norm statistics of trained weights, measured again.

In a short training the moving statistics lag behind the weights. Those that are measured here are the plain average
over training batches, as `torch.optim.swa_utils.update_bn` computes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from mnas.data import ImageSource
from mnas.mindspore_setup import Compute, mindspore_errors
from mnas.network.weights import FloatArray, Weights
from mnas.training.settings import TrainingSettings
from search_space.counting import parameters
from search_space.lowering import LoweredNetwork

if TYPE_CHECKING:
    from mindspore.nn import Cell


class NormStatistics:
    """Measures the statistics of one network's batch norms on the first `norm_batches` batches of a training.

    The first measurement compiles a graph, which the next ones use again. While a training goes on, keep it: when it is
    deleted, MindSpore compiles the graph of the training again.
    """

    def __init__(
        self,
        network: LoweredNetwork,
        settings: TrainingSettings,
        source: ImageSource,
        *,
        seed: int,
        micro_batch_size: int,
        compute: Compute,
    ) -> None:
        """Keep the parts; MindSpore must be prepared before the first measurement.

        Args:
            network: The network that the weights belong to.
            settings: How it is trained.
            source: The training images.
            seed: Chooses the batches and their augmentation.
            micro_batch_size: Images that a batch norm sees.
            compute: What this process computes on.
        """
        self._network, self._settings, self._source = network, settings, source
        self._seed, self._micro_batch_size, self._compute = seed, micro_batch_size, compute
        self._cell: Cell | None = None

    def measured(self, weights: Weights) -> dict[str, FloatArray]:
        """Return the weights with the means over the batches of each batch norm's mean and variance.

        The variance is the unbiased one, as in moving statistics.

        Raises:
            DataError: An image cannot be read.
            TrainingError: MindSpore fails (see `mindspore_errors`).
        """
        from mindspore import Tensor

        from mnas.network.weight_vector import load_arrays, named_arrays

        sums = {spec.name: np.zeros(spec.shape) for spec in parameters(self._network) if not spec.trainable}
        # From 0, so that the result does not depend on earlier statistics, not even by their rounding.
        start = {**weights, **{name: np.zeros_like(weights[name]) for name in sums}}
        with mindspore_errors():
            if self._cell is None:
                self._cell = self._build(start)
            else:
                load_arrays(self._cell, start)
            batches = 0
            for images in self._images():
                self._cell(Tensor(images))
                batches += 1
                of_batch = named_arrays(self._cell)
                for name, total in sums.items():
                    total += of_batch[name]
        return {**weights, **{name: np.asarray(total / batches, np.float32) for name, total in sums.items()}}

    def _build(self, weights: Weights) -> Cell:
        from mnas.network.mindspore_cell import build_network

        cell = build_network(
            self._network,
            weights,
            norm_momentum=0.0,  # the moving statistics are then those of the last batch
            precision=self._settings.precision,
            kernels=self._compute.uses_kernels(self._settings.precision),
            npu=self._compute.device == "Ascend",
        )
        return cell.set_train()

    def _images(self) -> Iterator[FloatArray]:
        batch_size = self._settings.batch_size
        micro_batches = batch_size // self._micro_batch_size
        missing = self._settings.norm_batches * micro_batches
        for epoch in count():
            part = range(min(missing, len(self._source) // batch_size * micro_batches))
            for images, _ in self._source.training_batches(
                self._micro_batch_size, seed=self._seed, epoch=epoch, batches=part
            ):
                yield images
            missing -= len(part)
            if not missing:
                return
