import pytest

from mnas.errors import TrainingError
from mnas.loss_scale import LossScaler
from mnas.training_settings import DynamicLossScale, FixedLossScale


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
