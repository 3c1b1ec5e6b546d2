# mypy: allow-subclassing-any
"""Validation of a full training, in which each process evaluates its share of the test set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnas.checkpoints.checkpoint import Accuracy, ValidatedOn
from mnas.data import ImageArrays, ImageSource
from mnas.data.streaming import StreamedImages
from mnas.evaluation.accuracy import Evaluation, Evaluator
from mnas.mindspore_setup import mindspore_errors
from mnas.network.weights import FloatArray, Weights
from mnas.retrain.processes import Process

AddUp = Callable[[FloatArray], FloatArray]
"""Adds up a vector over all processes; each of them must call it."""


def share_of(source: ImageSource, process: Process) -> ImageSource | None:
    """Return the images of a test set that a process evaluates: every one whose position it takes in turn.

    An image source of the user's own is evaluated whole by the first process. None stands for no images.
    """
    if process.ranks == 1:
        return source
    positions = np.arange(process.rank, len(source), process.ranks)
    if len(positions) == 0:
        return None
    match source:
        case ImageArrays():
            return source.select(positions)
        case StreamedImages():
            return replace(source, listing=source.listing.select(positions))
    return source if process.is_first else None


class Validator:
    """Evaluates weights on the images that validate."""

    def __init__(
        self,
        evaluator: Evaluator | None,
        process: Process = Process(),
        add_up: AddUp | None = None,
        on: ValidatedOn = "test",
    ) -> None:
        """Keep the parts.

        Args:
            evaluator: That of this process' share of the images; None if it has none.
            process: The place of this process.
            add_up: Adds up over the processes; None for one process.
            on: What the images are.
        """
        self._evaluator, self._process, self._add_up, self._on = evaluator, process, add_up, on

    def validate(self, weights: Weights, *, of_ema: bool) -> Accuracy:
        """Return the accuracy on all images. Every process must call this after the same step.

        Args:
            weights: The weights that the first process has; those of the others are not used.
            of_ema: Whether they are a moving average.
        """
        if self._add_up is not None:
            # The moving statistics of batch norms differ between processes; those of the first are kept.
            weights = self._from_first(weights, self._add_up)
        result = None if self._evaluator is None else self._evaluator.evaluate(weights)
        if self._add_up is not None:
            result = evaluation_of(self._add_up(sums_of(result)))
        assert result is not None, "a single process has all images"
        return accuracy_of(result, of_ema=of_ema, on=self._on)

    def _from_first(self, weights: Weights, add_up: AddUp) -> Weights:
        vector = np.concatenate([value.ravel() for value in weights.values()])
        parts = add_up(vector if self._process.is_first else np.zeros_like(vector))
        ends = np.cumsum([value.size for value in weights.values()])
        return {
            name: part.reshape(value.shape)
            for (name, value), part in zip(weights.items(), np.split(parts, ends[:-1]), strict=True)
        }


def accuracy_of(result: Evaluation, *, of_ema: bool, on: ValidatedOn) -> Accuracy:
    """Return an evaluation as a checkpoint keeps it."""
    return Accuracy(top1=result.top1, top5=result.top5, loss=result.loss, images=result.images, of_ema=of_ema, on=on)


def sums_of(result: Evaluation | None) -> FloatArray:
    """Return what of an evaluation can be added up: images, right in the first 1 and 5, and the sum of losses."""
    if result is None:
        return np.zeros(4, np.float32)
    shares = np.array([1.0, result.top1, result.top5, result.loss])
    return (shares * result.images).astype(np.float32)


def evaluation_of(sums: NDArray[np.float32]) -> Evaluation:
    """Return the evaluation whose sums these are."""
    images, top1, top5 = (round(float(value)) for value in sums[:3])
    return Evaluation(top1=top1 / images, top5=top5 / images, loss=float(sums[3]) / images, images=images)


def add_up_over(process: Process) -> AddUp | None:
    """Return the function that adds up over the joined processes; None for one process."""
    if process.ranks == 1:
        return None

    def add_up(values: FloatArray) -> FloatArray:
        from mindspore import Tensor

        with mindspore_errors():
            return np.asarray(_all_reduce()(Tensor(values)).asnumpy(), np.float32)

    return add_up


@cache
def _all_reduce() -> Any:
    # One for the whole process: MindSpore compiles other graphs again when a cell is deleted.
    from mindspore import Tensor, nn, ops

    class AllReduce(nn.Cell):
        def __init__(self) -> None:
            super().__init__(auto_prefix=False)
            self.add_up = ops.AllReduce()

        def construct(self, values: Tensor) -> Tensor:
            return self.add_up(values)

    return AllReduce()
