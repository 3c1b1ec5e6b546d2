"""Trackers get the numbers of the store, and cannot harm a search. MLflow and W&B are stand-ins here."""

import logging
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mnas.cli import main
from mnas.errors import ConfigurationError
from mnas.experiment import Experiment
from mnas.search import trackers
from mnas.search.driver import SearchObserver
from mnas.search.run import Run
from mnas.search.scalars import Curves, Point
from mnas.search.trackers import Log, TrackingObserver, tracking_observers

Calls = list[tuple[str, Any]]


def stand_in(name: str, calls: Calls) -> ModuleType:
    """Return a module with the functions of MLflow or W&B that are used; it notes the calls."""

    @contextmanager
    def start(**options: Any) -> Iterator[SimpleNamespace]:
        calls.append(("start", options))
        yield SimpleNamespace(log=lambda values, step: calls.append(("point", (step, values))))
        calls.append(("end", None))

    functions = {
        "start_run": start,
        "log_params": lambda values: calls.append(("parameters", values)),
        "log_metrics": lambda values, step, timestamp: calls.append(("point", (step, values))),
        "init": start,
        "Settings": lambda **options: options,
    }
    module = ModuleType(name)
    for key, function in functions.items():
        setattr(module, key, function)
    return module


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    noted: Calls = []
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, stand_in(name, noted))
    return noted


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_gets_the_numbers_of_all_sessions(name: str, calls: Calls, searched_run: Path) -> None:
    run = Run.open(searched_run)
    with tracking_observers([name], run.experiment, searched_run) as (observer,):
        observer.trial_finished(run.trials[0])
    curves = Curves()
    expected = [*curves.earlier(run.trials), curves.point(run.trials[0])]
    assert [value for what, value in calls if what == "point"] == [(point.step, point.values) for point in expected]
    assert calls[-1] == ("end", None)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_the_settings_of_the_experiment_are_parameters(name: str, calls: Calls, searched_run: Path) -> None:
    run = Run.open(searched_run)
    with tracking_observers([name], run.experiment, searched_run) as (observer,):
        observer.trial_finished(run.trials[0])
    told: dict[str, Any] = {}
    for what, value in calls:
        told |= value if what == "parameters" else value.get("config", {}) if what == "start" else {}
    assert str(told["latency.target_ms"]) == str(run.experiment.latency.target_ms)
    assert told["space"] == run.experiment.space


def test_a_search_with_nothing_to_do_begins_no_tracker(calls: Calls, searched_run: Path) -> None:
    with tracking_observers(["mlflow"], Run.open(searched_run).experiment, searched_run):
        pass
    assert calls == []


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_named(name: str, searched_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    opened = tracking_observers([name], Run.open(searched_run).experiment, searched_run)
    with pytest.raises(ConfigurationError, match=rf"mnas\[{name}\]"), opened:
        pass


def broken_at_once() -> AbstractContextManager[Log]:
    raise OSError("no server\x1b[31m")


@contextmanager
def broken_later() -> Iterator[Any]:
    def log(point: Point) -> None:
        raise SystemExit(1)

    yield log


@pytest.mark.parametrize("opened", [broken_at_once, broken_later])
def test_a_tracker_that_fails_says_so_once(opened: Any, searched_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    trials = Run.open(searched_run).trials
    observer = TrackingObserver("mlflow", opened, trials)
    with caplog.at_level(logging.WARNING):
        for trial in trials:
            observer.trial_finished(trial)
        observer.close()
    (line,) = caplog.messages
    assert line.startswith("mnas: mlflow: ")
    assert "\x1b" not in line


def test_a_tracker_that_hangs_does_not_hold_up_the_search(
    searched_run: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "CLOSING_S", 0.05)
    answer = threading.Event()

    @contextmanager
    def hanging() -> Iterator[Any]:
        answer.wait(60)
        yield lambda point: None

    trials = Run.open(searched_run).trials
    observer = TrackingObserver("wandb", hanging, ())
    for trial in trials:
        observer.trial_finished(trial)
    observer.close()
    answer.set()
    assert "wandb has not taken everything" in caplog.text


def test_the_command_hands_trials_to_the_tracker(
    calls: Calls, searched_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(experiment: Experiment, directory: Path, *, observer: SearchObserver) -> Run:
        run = Run.open(searched_run)
        observer.trial_finished(run.trials[1])
        return run

    monkeypatch.setattr(Experiment, "run", search)
    monkeypatch.setattr("mnas.cli.search.stop_cleanly", lambda: None)
    assert main(["search", "quickstart", "--run-dir", str(tmp_path / "new"), "--track", "mlflow"]) == 0
    assert [value[1]["search/reward"] for what, value in calls if what == "point"] == [0.57]


def test_the_command_names_the_missing_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("mnas.cli.search.stop_cleanly", lambda: None)
    assert main(["search", "quickstart", "--run-dir", str(tmp_path / "new"), "--track", "wandb"]) == 2
    assert "pip install 'mnas[wandb]'" in capsys.readouterr().err


def track(name: str, searched_run: Path, monkeypatch: pytest.MonkeyPatch) -> list[Point]:
    """Hand the trials of a run to a real tracker, and return the points that it should have."""
    monkeypatch.setattr(trackers, "CLOSING_S", 120.0)
    run = Run.open(searched_run)
    with tracking_observers([name], run.experiment, searched_run) as (observer,):
        observer.trial_finished(run.trials[0])
    curves = Curves()
    return [*curves.earlier(run.trials), curves.point(run.trials[0])]


def test_the_real_mlflow_keeps_the_numbers(searched_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'mnas[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    points = track("mlflow", searched_run, monkeypatch)
    (kept,) = mlflow.search_runs(output_format="list")
    assert kept.data.params["space"] == "tiny16"
    for name in ("search/reward", "search/best_reward", "search/failed"):
        history = mlflow.MlflowClient().get_metric_history(kept.info.run_id, name)
        expected = [(point.step, point.values[name]) for point in points if name in point.values]
        assert [(one.step, one.value) for one in history] == expected


def log_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a file in the log format of LevelDB, as W&B writes it after a header of 7 bytes."""
    place, record = 7, b""
    while place < len(content):
        if 32768 - place % 32768 < 7:  # the rest of a block that holds no record
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield record
            record = b""


def test_the_real_wandb_keeps_the_numbers_offline(
    searched_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="W&B is not installed: pip install 'mnas[wandb]'")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    points = track("wandb", searched_run, monkeypatch)
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    rewards = []
    for record in log_records(path.read_bytes()):
        items = Record.FromString(record).history.item
        values = {item.key or item.nested_key[0]: float(item.value_json) for item in items}
        if "search/reward" in values:
            rewards.append((values["_step"], values["search/reward"]))
    assert rewards == [
        (point.step, point.values["search/reward"]) for point in points if "search/reward" in point.values
    ]
