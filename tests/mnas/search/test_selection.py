from datetime import datetime, timezone
from pathlib import Path

import pytest

from mnas.errors import ConfigurationError
from mnas.search.run import Run
from mnas.search.selection import ORDERS, ended_since, in_order, moment

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(("order", "ids"), [("trial", [1, 2, 3]), ("reward", [2, 1, 3]), ("latency", [1, 2, 3])])
def test_trials_without_the_value_come_last(searched_run: Path, order: str, ids: list[int]) -> None:
    assert [trial.id for trial in in_order(Run.open(searched_run).trials, order)] == ids


def test_every_order_is_one_of_a_trial(searched_run: Path) -> None:
    assert all(len(in_order(Run.open(searched_run).trials, order)) == 3 for order in ORDERS)


@pytest.mark.parametrize(
    ("text", "hour", "minute"),
    [("90m", 10, 30), ("2h", 10, 0), ("2026-03-01T08:15", 8, 15), ("2026-03-01T09:15+01:00", 8, 15)],
)
def test_a_moment_is_an_age_or_a_time(text: str, hour: int, minute: int) -> None:
    assert moment(text, NOW) == datetime(2026, 3, 1, hour, minute, tzinfo=timezone.utc)


@pytest.mark.parametrize("text", ["", "h", "yesterday", "xh", "1e400d", "nanh"])
def test_another_text_is_no_moment(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--since"):
        moment(text, NOW)


def test_what_ended_later_is_left(searched_run: Path) -> None:
    trials = Run.open(searched_run).trials
    assert len(ended_since(trials, datetime(2020, 1, 1, tzinfo=timezone.utc))) == 3
    assert ended_since(trials, datetime(2200, 1, 1, tzinfo=timezone.utc)) == []
