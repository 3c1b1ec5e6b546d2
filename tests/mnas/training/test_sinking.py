"""Sunk steps on the CPU: MindSpore has no data sinking there, so a stand-in calls the step with rows of the dataset."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mnas.data import DigitsSettings, ImageSource
from mnas.errors import ConfigurationError
from mnas.mindspore_setup import Compute, Device, prepare_mindspore
from mnas.training.feed import Feed, feed_for
from mnas.training.settings import DynamicLossScale, TrainingSettings
from mnas.training.sinking import SunkSteps
from mnas.training.trainer import Trainer
from search_space import Architecture, lower, parse_block

NETWORK = lower(
    Architecture((parse_block("r1_k3_s22_e3_i8_o8"),), stem_filters=8, head_filters=16),
    image_size=16,
    channels=1,
    num_classes=10,
)
SETTINGS = TrainingSettings(epochs=2, batch_size=32, learning_rate=0.01, dropout=0.2, norm_momentum=0.9)


class Queue:
    """What MindSpore sends rows to a device with."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def stop_send(self) -> None:
        self.calls.append("stop_send")

    def release(self) -> None:
        self.calls.append("release")


QUEUE = Queue()


def feed_of_an_npu(source: ImageSource, _: Device) -> Feed:
    return feed_for(source, "Ascend")


@pytest.fixture(scope="module")
def source() -> ImageSource:
    return DigitsSettings(image_size=16, augment="crop_flip").load_full().train


@pytest.fixture
def data_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_mindspore()
    import mindspore

    def stand_in(step: Any, dataset: Any, sink_size: int, jit_config: Any) -> Callable[[], Any]:
        dataset.__transfer_dataset__ = QUEUE
        QUEUE.calls.clear()
        rows: Iterator[Any] = iter(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True))

        def take() -> Any:
            results = [step(*map(mindspore.Tensor, next(rows))) for _ in range(sink_size)]
            return results[-1]

        return take

    monkeypatch.setattr(mindspore, "data_sink", stand_in)


@pytest.mark.usefixtures("data_sink")
def test_sunk_steps_are_the_steps(source: ImageSource) -> None:
    segments = [(0, range(40, 44)), (1, range(6))]
    plain = Trainer(NETWORK, SETTINGS, source, seed=1, compute=Compute(threads=1))
    sunk = Trainer(NETWORK, SETTINGS, source, seed=1, compute=Compute(threads=1), compiles=False, feed=feed_of_an_npu)
    expected = [report for epoch, steps in segments for report in plain.steps(epoch, steps)][1::2]
    calls = SunkSteps(sunk, segments, steps_per_call=2)
    found = list(calls.steps(*segments[0]))
    assert QUEUE.calls == []
    found += calls.steps(*segments[1])
    assert QUEUE.calls == ["stop_send", "release"]
    assert [(report.step, report.learning_rate) for report in found] == [
        (report.step, report.learning_rate) for report in expected
    ]
    assert [report.loss for report in found] == pytest.approx([report.loss for report in expected], abs=1e-5)
    for name, value in plain.weights().items():
        np.testing.assert_allclose(sunk.weights()[name], value, rtol=1e-4, atol=1e-5)


def test_the_steps_between_checkpoints_must_be_whole_calls(source: ImageSource) -> None:
    trainer = Trainer(NETWORK, SETTINGS, source, seed=1, compute=Compute(threads=1))
    with pytest.raises(ConfigurationError, match="`sink_steps: 4` does not divide the 6 steps of epoch 2"):
        SunkSteps(trainer, [(0, range(8)), (1, range(6))], steps_per_call=4)


def test_steps_that_may_be_skipped_cannot_be_sunk(source: ImageSource) -> None:
    settings = TrainingSettings(epochs=1, batch_size=32, learning_rate=0.01, loss_scale=DynamicLossScale())
    trainer = Trainer(NETWORK, settings, source, seed=1, compute=Compute(threads=1))
    with pytest.raises(ConfigurationError, match="cannot be sunk"):
        SunkSteps(trainer, [(0, range(8))], steps_per_call=4)
