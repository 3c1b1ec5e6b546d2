import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnas.ranks import kendall_tau

NUMBERS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=8)


@pytest.mark.parametrize(
    ("second", "tau"),
    [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], -1.0), ([1, 2, 4, 3], 4 / 6), ([1, 1, 2, 3], 5 / 30**0.5)],
    ids=["equal", "reversed", "one pair", "a tie"],
)
def test_tau_counts_the_pairs_in_the_same_order(second: list[float], tau: float) -> None:
    assert kendall_tau([1, 2, 3, 4], second) == pytest.approx(tau)


@pytest.mark.parametrize("second", [[], [0.5], [0.5, 0.5]])
def test_without_an_order_there_is_no_tau(second: list[float]) -> None:
    assert kendall_tau(list(range(len(second))), second) is None


@given(NUMBERS)
def test_tau_is_symmetric_and_bounded(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    tau = kendall_tau(first, second)
    assert tau == kendall_tau(second, first)
    assert tau is None or abs(tau) <= 1 + 1e-12
