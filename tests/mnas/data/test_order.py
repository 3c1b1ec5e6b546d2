import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnas.data.order import epoch_order, full_batches, random_order
from mnas.errors import DataError


@given(st.integers(0, 500), st.integers(0, 2**32 - 1), st.integers(0, 1000))
def test_an_order_visits_everything_once(count: int, seed: int, epoch: int) -> None:
    assert np.array_equal(np.sort(epoch_order(count, seed=seed, epoch=epoch)), np.arange(count))


def test_orders_stay_the_same_from_release_to_release() -> None:
    assert random_order(8, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert epoch_order(8, seed=1, epoch=2).tolist() == [5, 6, 3, 2, 1, 0, 4, 7]


def test_full_batches_round_down() -> None:
    assert full_batches(11, 4) == 2


def test_a_batch_that_cannot_be_filled_is_refused() -> None:
    with pytest.raises(
        DataError, match="a batch of 12 cannot be filled from 11 training images: lower the batch"
    ):
        full_batches(11, 12)
