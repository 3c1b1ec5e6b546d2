"""The data of a report is what the store says."""

from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mnas.report.data import report_data, verdict
from mnas.report.facts import facts_of
from mnas.report.learning import importances
from mnas.report.times import busy, time_sums, trial_times
from mnas.search.pareto import pareto_front
from mnas.search.run import Run
from mnas.search.run_directory import DATABASE
from mnas.search.store import TrialStore
from search_space import SearchSpace
from tests.mnas.report.stand_in import stand_in_run


def data_of(run: Run) -> Any:
    (data,) = report_data([run])["runs"]
    return data


@pytest.mark.parametrize("key", ["id", "state", "repeat_of", "accuracy", "latency_ms", "reward"])
def test_columns_are_the_numbers_of_the_store(two_phones: Run, key: str) -> None:
    assert data_of(two_phones)["trials"][key] == [getattr(trial, key) for trial in two_phones.trials]


def test_block_strings_are_those_of_the_store(two_phones: Run) -> None:
    columns = data_of(two_phones)["trials"]
    shown = [[columns["blocks"][place][one] for place, one in enumerate(row)] for row in columns["block"]]
    assert shown == [trial.architecture["blocks"] for trial in two_phones.trials]


def test_the_verdict_is_the_best_trial(two_phones: Run) -> None:
    best, told = two_phones.best(), data_of(two_phones)["verdict"]
    assert told["counts"] == two_phones.counts()
    assert best.accuracy is not None
    shown = [told["best"][key] for key in ("trial", "accuracy", "latency_ms", "reward", "other_latencies_ms")]
    assert shown == [best.id, best.accuracy, best.latency_ms, best.reward, best.other_latencies_ms]
    assert told["best"]["standard_error"] == two_phones.noise.error(best.accuracy)


def test_the_verdict_says_what_the_run_says(two_phones: Run, searched_run: Path) -> None:
    assert data_of(two_phones)["verdict"]["notes"] == two_phones.notes() == []
    run = Run.open(searched_run)
    assert data_of(run)["verdict"]["notes"] == run.notes() != []


def test_the_cost_leaves_out_the_time_between_sessions(tmp_path: Path) -> None:
    run = Run.open(stand_in_run(tmp_path / "run", 3))
    times = trial_times(list(map(facts_of, run.trials)))
    last_s = max(one.proposed_s + (one.duration_s or 0) for one in times)
    assert data_of(run)["verdict"]["search_s"] == last_s
    with closing(TrialStore(run.directory / DATABASE, create=True)) as store:
        session, *_ = store.begin_session()
        store.keep_session(session, 2.5, 2.5)
    assert data_of(run)["verdict"]["search_s"] == 2.5


def test_near_networks_are_those_of_the_note(two_phones: Run) -> None:
    alike = [trial if trial.reward is None else replace(trial, reward=0.5, accuracy=0.5) for trial in two_phones.trials]
    told = verdict(two_phones, alike, trial_times(list(map(facts_of, alike))))
    near = told["best"]["near_best"]
    assert near == sum(trial.state == "complete" and trial.repeat_of is None for trial in alike) - 1
    assert any(f"{near} others differ" in note for note in told["notes"])


def test_failures_have_their_texts(two_phones: Run) -> None:
    stored = [
        (trial.id, trial.failure.kind.value, trial.failure.message)
        for trial in two_phones.trials
        if trial.failure is not None and trial.repeat_of is None
    ]
    shown = [(one["trial"], one["kind"], one["message"]) for one in data_of(two_phones)["failures"]]
    assert shown == stored != []


def test_details_have_the_raw_runs(two_phones: Run) -> None:
    best = two_phones.best()
    phones = data_of(two_phones)["details"][str(best.id)]["phones"]
    assert best.latency is not None
    assert [phone["name"] for phone in phones] == ["host", "pixel6"]
    assert phones[0]["accepted"] == [session["window"]["wall_ms"] for session in best.latency["sessions"]]


def test_phones_count_rejected_windows_by_reason(two_phones: Run) -> None:
    (_, pixel6) = data_of(two_phones)["phones"]
    stored = [
        window["reason"].split()[0]
        for trial in two_phones.trials
        if trial.latency is not None
        for window in trial.latency["others"]["pixel6"]["rejected_windows"]
    ]
    assert {one["reason"].split()[0]: one["count"] for one in pixel6["rejected"]} == {
        word: stored.count(word) for word in set(stored)
    }


def test_times_are_those_of_the_store(two_phones: Run) -> None:
    data = data_of(two_phones)
    stored = [trial.training["phases"]["train"]["wall_s"] for trial in two_phones.trials if trial.training is not None]
    sums = {part["name"]: part["seconds"] for part in data["times"]["phases"]}
    assert sums["train"] == pytest.approx(sum(stored), abs=1e-3)
    assert data["trials"]["duration_s"] == [
        None if seconds is None else round(seconds, 3) for seconds in two_phones.columns()["duration_s"]
    ]


def test_the_queue_ends_when_the_child_starts(two_phones: Run) -> None:
    trial = next(trial for trial in two_phones.trials if trial.training is not None and trial.latency is not None)
    proposed = datetime.fromisoformat(trial.proposed_at)
    training = {key: value for key, value in (trial.training or {}).items() if key != "started_at"}
    started = replace(trial, training={**training, "started_at": (proposed + timedelta(seconds=0.5)).isoformat()})
    (before,), (now,) = trial_times([facts_of(replace(trial, training=training))]), trial_times([facts_of(started)])
    assert (before.queue_s, before.training_began_s) == (None, 0.0)
    assert (now.queue_s, now.training_began_s) == (0.5, 0.5)
    assert time_sums([before])["queue_s"] is None
    assert time_sums([now])["queue_s"] == 0.5
    assert time_sums([now])["waiting_s"] == pytest.approx(time_sums([before])["waiting_s"] - 0.5, abs=2e-3)


@pytest.mark.parametrize("text", ["soon", "", 5])
def test_a_start_that_is_no_time_counts_as_not_recorded(two_phones: Run, text: object) -> None:
    trial = replace(two_phones.trials[0], training={"started_at": text})
    assert trial_times([facts_of(trial)])[0].queue_s is None


def test_workers_are_busy_as_long_as_children_train(two_phones: Run) -> None:
    times = trial_times(list(map(facts_of, two_phones.trials)))
    shown = busy(times)
    total_s = sum(shown["children"]) * shown["step_s"]
    assert total_s == pytest.approx(sum(one.training_s or 0 for one in times), rel=1e-3)


def test_shares_sum_to_one(two_phones: Run) -> None:
    for decision in data_of(two_phones)["shares"]["decisions"]:
        assert [sum(column) for column in zip(*decision["shares"], strict=True)] == pytest.approx([1] * 12, abs=1e-3)


def test_the_latency_of_the_stand_in_depends_on_what_makes_a_network_large(tmp_path: Path) -> None:
    run = Run.open(stand_in_run(tmp_path / "run", 400))
    found = importances(run.trials, SearchSpace.load("tiny16").decisions)
    assert found is not None
    assert found["of"]["latency"]["held_out_r2"] > 0.6
    heavy = {"op", "kernel", "filters", "layers"}
    by_name = zip(found["decisions"], found["of"]["latency"]["shares"], strict=True)
    assert sum(share for name, share in by_name if name.split(".")[1] in heavy) > 0.9


def test_too_few_trials_have_no_importances(searched_run: Path) -> None:
    run = Run.open(searched_run)
    assert data_of(run)["importances"] is None


def test_a_front_has_nothing_that_another_trial_beats(two_phones: Run) -> None:
    front = pareto_front(two_phones.trials)
    known = [trial for trial in two_phones.trials if trial.accuracy is not None and trial.latency_ms is not None]
    for one in front:
        assert not [
            other.id
            for other in known
            if (other.accuracy or 0) >= (one.accuracy or 0)
            and (other.latency_ms or 0) <= (one.latency_ms or 0)
            and (other.accuracy, other.latency_ms) != (one.accuracy, one.latency_ms)
        ]


def test_runs_are_compared_by_what_differs(two_phones: Run, searched_run: Path) -> None:
    keys = {one["key"]: one["values"] for one in report_data([two_phones, Run.open(searched_run)])["differences"]}
    assert keys["search.trials"] == ["60", "3"]
    assert "space" not in keys


def test_finalists_decide_the_verdict(tmp_path: Path) -> None:
    run = Run.open(stand_in_run(tmp_path / "run", 40, finalists=4))
    told = data_of(run)["verdict"]
    first, winner = told["finalists"][0], run.finalists()[0]
    assert told["best"]["trial"] == first["trial"] == run.best().id
    assert (len(told["finalists"]), first["trainings"], first["reward"]) == (4, 3, winner.standing.mean)
    assert told["best"]["near_best"] is None
    assert told["notes"] == run.notes()
