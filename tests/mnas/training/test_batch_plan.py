import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnas.errors import ConfigurationError
from mnas.training.batch_plan import BatchPlan


@given(
    micro=st.integers(2, 64),
    ranks=st.integers(1, 8),
    accumulated=st.integers(1, 5),
    first=st.integers(0, 100),
    count=st.integers(1, 20),
)
def test_the_processes_divide_the_micro_batches_of_every_step(
    micro: int, ranks: int, accumulated: int, first: int, count: int
) -> None:
    plans = [BatchPlan(micro * ranks * accumulated, micro, rank, ranks) for rank in range(ranks)]
    for step in range(first, first + count):
        taken = [index for plan in plans for index in plan.micro_batches_of(range(step, step + 1))]
        assert sorted(taken) == list(range(step * ranks * accumulated, (step + 1) * ranks * accumulated))
        assert {len(plan.micro_batches_of(range(step, step + 1))) for plan in plans} == {accumulated}


def test_the_images_of_a_step_do_not_depend_on_the_number_of_processes() -> None:
    alone = BatchPlan(2048, 256)
    assert (alone.accumulated, BatchPlan(2048, 256, ranks=8).accumulated) == (8, 1)
    assert list(alone.micro_batches_of(range(3, 4))) == list(range(24, 32))


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"batch of 2048 .* micro-batches of 256 on 3 device.* multiple of 768"
    ):
        BatchPlan(2048, 256, ranks=3)
