"""Training steps whose data is sent to the device ahead of them, by MindSpore's data sinking.

MindSpore sinks data on Ascend only. This has not been run on an Ascend device: the tests run this module on the CPU,
with a substitute for `mindspore.data_sink`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mnas.errors import ConfigurationError, TrainingDivergedError
from mnas.mindspore_setup import mindspore_errors
from mnas.training.feed import Arrays
from mnas.training.trainer import StepReport, Trainer

Segment = tuple[int, range]


class SunkSteps:
    """The remaining steps of a trainer, with `steps_per_call` steps for each loss that is read."""

    def __init__(self, trainer: Trainer, segments: Sequence[Segment], steps_per_call: int) -> None:
        """Start to send the data of the steps to the device, as much as its queue holds.

        Args:
            trainer: Takes the steps.
            segments: All remaining steps in their order, as (epoch, steps of the epoch).
            steps_per_call: Steps that the device takes in one call.

        Raises:
            ConfigurationError: `steps_per_call` does not divide each segment.
        """
        for epoch, steps in segments:
            if len(steps) % steps_per_call:
                raise ConfigurationError(
                    f"`sink_steps: {steps_per_call}` does not divide the {len(steps)} steps of epoch {epoch + 1} that "
                    "lie between two checkpoints; change it or `checkpoint_every_steps`"
                )
        import mindspore
        from mindspore.dataset import GeneratorDataset

        self._trainer, self._steps_per_call = trainer, steps_per_call
        self._calls_left = sum(len(steps) for _, steps in segments) // steps_per_call
        self._dataset = GeneratorDataset(
            _Rows(trainer, segments),
            list(trainer.input_names),
            shuffle=False,
            num_parallel_workers=1,
            python_multiprocessing=False,
        )
        with mindspore_errors():
            self._take = mindspore.data_sink(
                trainer.whole_step(),
                self._dataset,
                sink_size=steps_per_call,
                jit_config=mindspore.JitConfig(jit_level="O0"),
            )

    def steps(self, epoch: int, steps: range) -> Iterator[StepReport]:
        """Take these steps, which must be the next ones; yield the report of the last step of each call."""
        first = epoch * self._trainer.steps_per_epoch
        for last in steps[self._steps_per_call - 1 :: self._steps_per_call]:
            with mindspore_errors():
                loss = float(self._take().asnumpy())
            self._calls_left -= 1
            if self._calls_left == 0 or not np.isfinite(loss):
                self._end_queue()
            if not np.isfinite(loss):
                raise TrainingDivergedError(first + last, loss)
            rate = float(self._trainer.learning_rates[first + last])
            yield StepReport(first + last, loss, rate, skipped=False)

    def _end_queue(self) -> None:
        # MindSpore sends all rows again after the last one, until the process ends.
        queue = getattr(self._dataset, "__transfer_dataset__", None)
        if queue is not None:
            queue.stop_send()
            queue.release()


class _Rows:
    """The inputs of all steps, for GeneratorDataset."""

    def __init__(self, trainer: Trainer, segments: Sequence[Segment]) -> None:
        self._trainer, self._segments = trainer, segments

    def __len__(self) -> int:
        return sum(len(steps) for _, steps in self._segments)

    def __iter__(self) -> Iterator[Arrays]:
        for epoch, steps in self._segments:
            yield from self._trainer.inputs(epoch, steps)
