import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnas.bundled_files import find_recipe
from mnas.errors import TrainingError
from mnas.retrain.recipe import load_recipe
from mnas.training.schedules import LossScaler, dropout_mask, ema_decay, learning_rates
from mnas.training.settings import (
    Constant,
    Cosine,
    DynamicLossScale,
    Ema,
    FixedLossScale,
    Schedule,
    Staircase,
    TrainingSettings,
)


def rates(schedule: Schedule, *, epochs: int = 10, steps_per_epoch: int = 4) -> list[float]:
    settings = TrainingSettings(epochs=epochs, learning_rate=0.5, schedule=schedule)
    return [float(rate) for rate in learning_rates(settings, steps_per_epoch)]


def test_constant_is_the_learning_rate_at_every_step() -> None:
    assert rates(Constant()) == [0.5] * 40


def test_warm_up_rises_linearly_from_above_zero_to_the_peak() -> None:
    assert rates(Constant(warmup_epochs=1.25))[:7] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5])


def test_a_warm_up_from_zero_has_its_first_step_at_zero() -> None:
    values = rates(Constant(warmup_epochs=1.25, warmup_from_zero=True))
    assert values[:7] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5])


def test_every_step_of_the_recipe_of_mindcv_has_the_rate_of_its_formula() -> None:
    recipe = load_recipe(find_recipe("mnasnet_0.75_ascend"))
    found = learning_rates(recipe.training, 625)
    warmup = [0.016 * step / 3125 for step in range(3125)]
    cosine = [1e-10 + (0.016 - 1e-10) / 2 * (1 + math.cos(math.pi * step / 215_625)) for step in range(215_625)]
    assert len(found) == 218_750
    np.testing.assert_allclose(found, warmup + cosine, rtol=1e-6, atol=1e-12)


def test_cosine_starts_at_the_peak_and_is_halfway_down_in_the_middle() -> None:
    values = rates(Cosine(final=0.1))
    assert values[0] == pytest.approx(0.5)
    assert values[20] == pytest.approx(0.3)
    assert values[39] == pytest.approx(0.1 + 0.4 * (1 + np.cos(np.pi * 39 / 40)) / 2)


def test_cosine_decays_over_what_the_warm_up_leaves() -> None:
    values = rates(Cosine(warmup_epochs=2))
    assert values[7] == pytest.approx(0.5)
    assert values[8] == pytest.approx(0.5)
    assert values[24] == pytest.approx(0.25)


def test_staircase_counts_its_stairs_from_the_first_step() -> None:
    values = rates(Staircase(warmup_epochs=2, factor=0.5, every_epochs=2.5))
    assert values[:8] == pytest.approx([0.0625 * (step + 1) for step in range(8)])
    assert values[8:21] == pytest.approx([0.5] * 2 + [0.25] * 10 + [0.125])


def test_staircase_of_the_paper_has_its_published_values() -> None:
    settings = TrainingSettings(epochs=350, batch_size=4096, learning_rate=0.256, schedule=Staircase())
    values = learning_rates(settings, 312)
    assert values[5 * 312] == pytest.approx(0.256 * 0.97**2)  # stairs at 2.4 and 4.8 epochs
    assert values[-1] == pytest.approx(0.256 * 0.97**145)


@given(
    schedule=st.one_of(
        st.builds(Constant, warmup_epochs=st.floats(0, 2.9)),
        st.builds(Cosine, warmup_epochs=st.floats(0, 2.9), final=st.floats(0, 0.5)),
        st.builds(Staircase, warmup_epochs=st.floats(0, 2.9), every_epochs=st.floats(0.5, 5)),
    ),
    epochs=st.integers(3, 20),
    steps_per_epoch=st.integers(1, 50),
)
def test_every_step_has_a_positive_rate_of_at_most_the_peak(
    schedule: Schedule, epochs: int, steps_per_epoch: int
) -> None:
    values = rates(schedule, epochs=epochs, steps_per_epoch=steps_per_epoch)
    assert len(values) == epochs * steps_per_epoch
    assert all(0 < value <= 0.5 for value in values)


def test_a_fixed_scale_stays() -> None:
    scaler = LossScaler(FixedLossScale(scale=256))
    scaler.step_taken(skipped=False)
    assert (scaler.value, scaler.is_dynamic) == (256, False)


def test_a_dynamic_scale_halves_at_every_skipped_step() -> None:
    scaler = LossScaler(DynamicLossScale(initial_scale=1024))
    scaler.step_taken(skipped=True)
    scaler.step_taken(skipped=True)
    assert scaler.value == 256


def test_a_dynamic_scale_doubles_after_enough_good_steps_in_a_row() -> None:
    scaler = LossScaler(DynamicLossScale(initial_scale=8, growth_steps=3))
    values = []
    for skipped in (False, False, True, False, False, False, False):
        scaler.step_taken(skipped=skipped)
        values.append(scaler.value)
    assert values == [8, 8, 4, 4, 4, 8, 8]


def test_a_scale_below_one_means_that_training_diverged() -> None:
    scaler = LossScaler(DynamicLossScale(initial_scale=1))
    with pytest.raises(TrainingError, match="not finite even at loss scale 1"):
        scaler.step_taken(skipped=True)


def test_the_ramp_of_the_average_is_that_of_tensorflow() -> None:
    ramped = [ema_decay(Ema(decay=0.9999), step) for step in (0, 1, 98, 10**6)]
    assert ramped == pytest.approx([2 / 11, 3 / 12, 100 / 109, 0.9999])


def test_without_ramp_the_decay_is_constant() -> None:
    assert ema_decay(Ema(decay=0.99, ramp=False), 0) == 0.99


def test_a_mask_drops_its_share_and_keeps_the_mean() -> None:
    mask = dropout_mask(0.2, (400, 500), seed=1, epoch=2, micro_batch=3)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1.25)}
    assert float((mask == 0).mean()) == pytest.approx(0.2, abs=0.005)


def test_a_mask_depends_on_seed_epoch_and_micro_batch_alone() -> None:
    keys = [(1, 2, 3), (0, 2, 3), (1, 0, 3), (1, 2, 0)]
    masks = [dropout_mask(0.5, (8, 16), seed=s, epoch=e, micro_batch=m) for s, e, m in keys]
    assert np.array_equal(masks[0], dropout_mask(0.5, (8, 16), seed=1, epoch=2, micro_batch=3))
    assert all(not np.array_equal(masks[0], other) for other in masks[1:])
