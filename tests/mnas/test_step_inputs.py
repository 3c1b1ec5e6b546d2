import numpy as np
import pytest

from mnas.step_inputs import dropout_mask, ema_decay
from mnas.training_settings import Ema


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
