"""What a report reads of each trial is what the store holds, and it is read once."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mnas.report.facts import facts_of, read_facts
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE
from mnas.search.store import Outcome, StoreError, TrialStore
from tests.mnas.report.stand_in import stand_in_run


def test_facts_are_those_of_the_whole_trials(two_phones: Run) -> None:
    with closing(TrialStore(two_phones.directory / DATABASE)) as store:
        found = read_facts(store)
    for one, trial in zip(found, two_phones.trials, strict=True):
        assert msgspec.structs.replace(one, trial=trial) == facts_of(trial)
        assert replace(one.trial, training=trial.training, latency=trial.latency) == trial
        assert one.trial.other_latencies_ms == trial.other_latencies_ms
        assert (one.trial.training is None) == (trial.training is None)


@pytest.mark.parametrize(
    ("half", "text"),
    [
        ("training", '{"accuracy": NaN}'),
        ("latency", '{"latency_ms": Infinity, "sessions": [{"window": {"wall_ms": []}}]}'),
    ],
)
def test_a_half_with_a_number_that_is_not_finite_is_read_as_the_store_reads_it(
    tmp_path: Path, half: str, text: str
) -> None:
    with closing(TrialStore(stand_in_run(tmp_path / "run", 3, pending=2) / DATABASE, create=True)) as store:
        store.write(f"UPDATE trials SET {half} = ? WHERE id = 3", (text,))
        assert getattr(store.trial(3), half) is None
        assert getattr(read_facts(store)[2].trial, half) is None


def test_a_record_of_something_else_is_refused(tmp_path: Path) -> None:
    with closing(TrialStore(stand_in_run(tmp_path / "run", 3) / DATABASE, create=True)) as store:
        store.write("UPDATE trials SET latency = ? WHERE id = 2", ('{"latency_ms": 1, "sessions": 5}',))
        with pytest.raises(StoreError, match="trial 2: 'sessions' is 5"):
            read_facts(store)


def test_only_trials_that_have_changed_are_read_again(tmp_path: Path) -> None:
    with closing(TrialStore(stand_in_run(tmp_path / "run", 8, pending=2) / DATABASE, create=True)) as store:
        known = read_facts(store)
        store.finish([Outcome(7, 0.5, 1.0, 0.5)])
        again = read_facts(store, known)
        assert again == read_facts(store)
    assert [one.trial.id for one in again if not any(one is other for other in known)] == [7, 8]
