"""The trainer's state, micro-batches and precisions, on a small network and the digits."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest

from mnas.bundled_files import find_recipe
from mnas.data import DigitsSettings, ImageSource
from mnas.errors import WeightsError
from mnas.experiment import Experiment
from mnas.kernels.library import machine_has_kernels
from mnas.mindspore_setup import Compute, Device, prepare_mindspore
from mnas.retrain.recipe import load_recipe
from mnas.training.batch_plan import BatchPlan
from mnas.training.feed import Feed, feed_for
from mnas.training.settings import DynamicLossScale, Ema, FixedLossScale, TrainingSettings
from mnas.training.trainer import Trainer, TrainerState
from search_space import Architecture, lower, parse_block
from search_space.lowering import LoweredNetwork
from tests.mnas.ascend import graphs

NETWORK = lower(
    Architecture(
        (parse_block("r1_k3_s22_e1_i8_o8_conv"), parse_block("r1_k3_s22_e3_i8_o8_se0.25")),
        stem_filters=8,
        head_filters=32,
    ),
    image_size=16,
    channels=1,
    num_classes=10,
)
EVERY_LAYER = lower(graphs.EVERY_LAYER, image_size=16, channels=1, num_classes=10)
SETTINGS = TrainingSettings(
    epochs=3,
    batch_size=32,
    learning_rate=0.01,
    label_smoothing=0.1,
    weight_decay=1e-4,
    dropout=0.2,
    norm_momentum=0.9,
    ema=Ema(decay=0.9),
)
MakeTrainer = Callable[..., Trainer]

needs_kernels = pytest.mark.skipif(not machine_has_kernels(), reason="the kernels are not compiled for this machine")


@pytest.fixture(scope="module")
def source() -> ImageSource:
    return DigitsSettings(image_size=16).load_full().train


@pytest.fixture(scope="module")
def make_trainer(source: ImageSource) -> MakeTrainer:
    def make(
        settings: TrainingSettings = SETTINGS,
        *,
        network: LoweredNetwork = NETWORK,
        kernels: bool = False,
        vector: bool = False,
        **options: Any,
    ) -> Trainer:
        prepare_mindspore(Compute(threads=1))
        from mnas.network import mindspore_cell

        with pytest.MonkeyPatch.context() as patch:
            if vector:  # as on an NPU, but with the operators of the CPU
                build = mindspore_cell.build_network
                patch.setattr(mindspore_cell, "build_network", lambda *a, **b: build(*a, **{**b, "vector": True}))
            return Trainer(network, settings, source, seed=3, compute=Compute(threads=1, kernels=kernels), **options)

    return make


@pytest.fixture(scope="module")
def trainer(make_trainer: MakeTrainer) -> Trainer:
    return make_trainer()


def assert_equal(found: TrainerState, expected: TrainerState, rtol: float = 0.0) -> None:
    for part in ("weights", "ema", "slots"):
        ours, theirs = getattr(found, part) or {}, getattr(expected, part) or {}
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=rtol, atol=rtol, err_msg=f"{part} {name}")
    assert (found.loss_scale, found.good_steps) == (expected.loss_scale, expected.good_steps)


@pytest.mark.parametrize("kernels", [False, pytest.param(True, marks=needs_kernels)], ids=["mindspore", "kernels"])
@pytest.mark.parametrize("plan", [None, BatchPlan(32, 16)], ids=["whole batches", "accumulated"])
def test_a_resumed_training_takes_the_steps_that_would_have_come(
    make_trainer: MakeTrainer, plan: BatchPlan | None, kernels: bool
) -> None:
    first = make_trainer(plan=plan, kernels=kernels)
    start = first.state()
    list(first.steps(1, range(4)))
    middle = first.state()
    uninterrupted = list(first.steps(1, range(4, 9)))
    end = first.state()
    for name in ("rmsprop.square", "rmsprop.velocity"):
        assert not np.array_equal(middle.slots[name], start.slots[name])
    assert middle.ema is not None
    assert not np.array_equal(middle.ema["stem.norm.moving_mean"], middle.weights["stem.norm.moving_mean"])

    second = make_trainer(plan=plan, start=middle, kernels=kernels)
    assert_equal(second.state(), middle)
    resumed = list(second.steps(1, range(4, 9)))
    assert [(report.step, report.learning_rate) for report in resumed] == [
        (report.step, report.learning_rate) for report in uninterrupted
    ]
    assert [report.loss for report in resumed] == pytest.approx([report.loss for report in uninterrupted], abs=1e-5)
    assert_equal(second.state(), end, rtol=1e-4)


@pytest.fixture(scope="module")
def trainer_as_it_comes(make_trainer: MakeTrainer) -> Trainer:
    return make_trainer(kernels=True)


@needs_kernels
def test_a_float32_training_in_one_thread_takes_the_kernels(trainer_as_it_comes: Trainer) -> None:
    from mnas.network.weight_vector import KernelNetwork

    assert isinstance(trainer_as_it_comes.whole_step().gradients.network, KernelNetwork)


@needs_kernels
def test_a_state_does_not_tell_whether_kernels_made_it(make_trainer: MakeTrainer, trainer_as_it_comes: Trainer) -> None:
    own = trainer_as_it_comes
    list(own.steps(0, range(3)))
    plain = make_trainer(kernels=False, start=own.state())
    assert_equal(plain.state(), own.state())
    own_losses, plain_losses = ([report.loss for report in each.steps(0, range(3, 6))] for each in (own, plain))
    assert plain_losses == pytest.approx(own_losses, rel=1e-4)


# They differ in weight decay, loss scale, moving average and schedule.
CHILD = Experiment.load("imagenet_ascend").training
RECIPE_075, RECIPE_PAPER = (
    load_recipe(find_recipe(name)).training for name in ("mnasnet_0.75_ascend", "mnasnet_paper")
)


@pytest.mark.parametrize(
    ("network", "settings", "plan"),
    [(EVERY_LAYER, CHILD, None), (NETWORK, RECIPE_075, BatchPlan(32, 16)), (NETWORK, RECIPE_PAPER, None)],
    ids=["child", "recipe of 0.75, accumulated", "recipe of the paper"],
)
def test_one_vector_of_weights_takes_the_steps_of_many_parameters(
    make_trainer: MakeTrainer, network: LoweredNetwork, settings: TrainingSettings, plan: BatchPlan | None
) -> None:
    make = partial(make_trainer, msgspec.structs.replace(settings, batch_size=32), network=network, plan=plan)
    plain, vector = make(), make(vector=True)
    losses = [[report.loss for report in each.steps(2, range(3))] for each in (plain, vector)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert_equal(vector.state(), plain.state(), rtol=1e-5)
    assert list(vector.weights()) == list(plain.weights())


def test_one_vector_of_weights_resumes_from_many_parameters(make_trainer: MakeTrainer, trainer: Trainer) -> None:
    list(trainer.steps(1, range(2)))
    resumed = make_trainer(vector=True, start=trainer.state())
    assert_equal(resumed.state(), trainer.state())
    for each in (trainer, resumed):
        list(each.steps(1, range(2, 4)))
    assert_equal(resumed.state(), trainer.state(), rtol=1e-5)


def test_what_is_evaluated_is_the_moving_average(trainer: Trainer) -> None:
    average, evaluated = trainer.ema(), trainer.evaluated()
    assert average is not None
    assert average.keys() == evaluated.keys()
    assert all(np.array_equal(evaluated[name], value) for name, value in average.items())


@needs_kernels
def test_statistics_are_measured_for_the_moving_average_and_change_no_state(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(msgspec.structs.replace(SETTINGS, norm_batches=2), kernels=True)
    list(trainer.steps(0, range(3)))
    before = trainer.state()
    evaluated = trainer.evaluated()
    assert_equal(trainer.state(), before)
    assert before.ema is not None
    changed = {name for name, value in before.ema.items() if not np.array_equal(evaluated[name], value)}
    assert changed == {name for name in before.ema if "moving" in name}


def test_reports_count_their_steps_over_the_whole_training(trainer: Trainer) -> None:
    reports = list(trainer.steps(2, range(40, 43)))
    positions = [2 * trainer.steps_per_epoch + step for step in (40, 41, 42)]
    assert [report.step for report in reports] == positions
    assert [report.learning_rate for report in reports] == [float(trainer.learning_rates[each]) for each in positions]


def test_the_state_of_another_training_is_refused(trainer: Trainer, make_trainer: MakeTrainer) -> None:
    state = trainer.state()
    short = np.zeros(3, np.float32)
    with pytest.raises(WeightsError, match=r"optimizer slots are those of another training: 'rmsprop\.square'"):
        make_trainer(start=dataclasses.replace(state, slots={"sgd.velocity": short}))
    with pytest.raises(WeightsError, match=r"'rmsprop\.square' has shape \(3,\)"):
        make_trainer(start=dataclasses.replace(state, slots={**state.slots, "rmsprop.square": short}))


@pytest.fixture(scope="module")
def first_losses(make_trainer: MakeTrainer) -> list[float]:
    return [report.loss for report in make_trainer().steps(0, range(5))]


def feed_of_an_npu(source: ImageSource, _: Device) -> Feed:
    return feed_for(source, "Ascend")


def test_the_feed_of_an_npu_takes_the_same_steps_and_resumes_in_mid_epoch(
    make_trainer: MakeTrainer, first_losses: list[float]
) -> None:
    first = make_trainer(feed=feed_of_an_npu)
    found = list(first.steps(0, range(2)))
    found += make_trainer(feed=feed_of_an_npu, start=first.state()).steps(0, range(2, 5))
    assert [report.loss for report in found] == pytest.approx(first_losses, abs=1e-5)


@pytest.mark.parametrize("precision", ["O1", "O2", "O3"])
def test_float16_trains_nearly_as_float32_does(
    make_trainer: MakeTrainer, first_losses: list[float], precision: str
) -> None:
    settings = msgspec.structs.replace(SETTINGS, precision=precision, loss_scale=FixedLossScale(scale=128))
    halved = [report.loss for report in make_trainer(settings).steps(0, range(5))]
    assert halved == pytest.approx(first_losses, abs=0.02)
    assert halved != first_losses


def test_a_loss_scale_of_a_power_of_two_changes_nothing_in_float32(
    make_trainer: MakeTrainer, first_losses: list[float]
) -> None:
    scaled = make_trainer(msgspec.structs.replace(SETTINGS, loss_scale=FixedLossScale(scale=256)))
    assert [report.loss for report in scaled.steps(0, range(5))] == pytest.approx(first_losses, abs=1e-5)


def test_a_step_with_infinite_gradients_is_skipped_and_lowers_the_scale(make_trainer: MakeTrainer) -> None:
    settings = msgspec.structs.replace(SETTINGS, precision="O1", loss_scale=DynamicLossScale(initial_scale=2.0**30))
    trainer = make_trainer(settings)
    before = trainer.state()
    skipped: list[bool] = []
    while True:
        (report,) = trainer.steps(0, range(len(skipped), len(skipped) + 1))
        skipped.append(report.skipped)
        if not report.skipped:
            break
        after = trainer.state()
        for name in before.slots:
            np.testing.assert_array_equal(after.slots[name], before.slots[name])
        np.testing.assert_array_equal(after.weights["classifier.weight"], before.weights["classifier.weight"])
    assert 1 <= skipped.count(True) < 30
    assert trainer.loss_scale == 2.0 ** (30 - skipped.count(True))
    assert not np.array_equal(trainer.weights()["classifier.weight"], before.weights["classifier.weight"])
