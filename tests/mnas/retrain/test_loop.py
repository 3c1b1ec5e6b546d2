import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnas.retrain.loop import segments


@given(st.integers(0, 60), st.integers(1, 50), st.none() | st.integers(1, 60))
def test_segments_are_all_remaining_steps_in_order(first: int, steps: int, every: int | None) -> None:
    assert [step for part in segments(first, steps, every) for step in part] == list(range(first, steps))


@given(st.integers(1, 50), st.integers(1, 20))
def test_a_resumed_epoch_has_the_segments_that_were_left(steps: int, every: int) -> None:
    parts = list(segments(0, steps, every))
    for index, part in enumerate(parts):
        assert list(segments(part.start, steps, every)) == parts[index:]


@pytest.mark.parametrize("every", [None, 10, 25])
def test_a_segment_ends_with_the_epoch(every: int | None) -> None:
    assert list(segments(0, 10, every)) == [range(10)]
