"""`mnas search` as users run it: the real command, Ray, MindSpore and the host's latencies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from mnas.search.store import StoreError, Trial, TrialStore
from tests.ray_processes import processes_named

TRIALS = 5


def experiment(folder: Path, schedule: str = "synchronous") -> Path:
    document: dict[str, Any] = {
        "space": "tiny16",
        "data": {"format": "digits", "image_size": 16, "reward_images": 100, "train_images": 128},
        "training": {"epochs": 1, "learning_rate": 0.01, "norm_momentum": 0.8},
        "search": {"trials": TRIALS, "workers": 2, "schedule": schedule, "batch_size": 2},
        "latency": {"target_ms": 0.1},
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def command(path: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "mnas", "search", str(path), "--run-dir", str(path.parent / "run"), *more]


def ended(folder: Path) -> dict[int, Trial]:
    try:
        store = TrialStore(folder / "run" / "trials.sqlite")
    except StoreError:  # the run has not begun
        return {}
    trials = {trial.id: trial for trial in store.trials() if trial.state != "proposed"}
    store.close()
    return trials


def wait_for(folder: Path, count: int, process: "subprocess.Popen[str]") -> None:
    """Wait until `count` trials have ended."""
    deadline = time.monotonic() + 180
    while len(ended(folder)) < count:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def start(path: Path) -> "subprocess.Popen[str]":
    # Tests may have been started with signals ignored (`nohup`, a job in the background): not this command.
    return subprocess.Popen(
        ["env", "--default-signal", *command(path)],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_session(process: "subprocess.Popen[str]") -> None:
    """Kill the driver, then whatever it had started."""
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while members := [pid for pid in psutil.pids() if psutil.pid_exists(pid) and _session(pid) == process.pid]:
        assert time.monotonic() < deadline
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)


def _session(pid: int) -> int | None:
    try:
        return None if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE else os.getsid(pid)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return None


def child_workers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the processes that train children."""
    return processes_named("ChildWorker", below=process.pid)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    folder = tmp_path_factory.mktemp("search")
    path = experiment(folder, "asynchronous")
    return folder, subprocess.run(command(path, "--json"), capture_output=True, text=True, timeout=300, check=False)


def run_json(*arguments: object) -> Any:
    completed = subprocess.run(
        [sys.executable, "-m", "mnas", *map(str, arguments), "--json"], capture_output=True, text=True, check=True
    )
    return json.loads(completed.stdout)


Finished = tuple[Path, "subprocess.CompletedProcess[str]"]


def test_a_search_ends_with_the_best_architecture(finished: Finished) -> None:
    folder, completed = finished
    assert completed.returncode == 0, completed.stderr
    result = json.loads(completed.stdout)
    trials = ended(folder)
    assert result["complete"] == TRIALS
    assert result["best"]["reward"] == max(trial.reward or 0 for trial in trials.values())


def test_the_best_file_describes_the_best_trial(finished: Finished) -> None:
    folder, completed = finished
    best = json.loads(completed.stdout)["best"]
    described = run_json("arch", "describe", folder / "run" / "best.yaml", "--image-size", 16, "--channels", 1)
    assert described["fingerprint"] == best["fingerprint"]


def test_show_has_every_trial_with_its_measurements(finished: Finished) -> None:
    shown = run_json("show", finished[0] / "run")
    assert [trial["id"] for trial in shown["trials"]] == list(range(1, TRIALS + 1))
    for trial in shown["trials"]:
        assert trial["state"] == "complete"
        assert trial["failure"] is None
        assert trial["latency_ms"] > 0
        assert trial["latency"]["accepted"]
        assert trial["training"]["phases"]["compile"]["wall_s"] > 0


def test_best_lists_in_order_of_reward(finished: Finished) -> None:
    rewards = [trial["reward"] for trial in run_json("best", finished[0] / "run", "--count", 3)]
    assert rewards == sorted(rewards, reverse=True)


def test_every_trial_is_reported_on_standard_error(finished: Finished) -> None:
    ended = [line.split()[:3] for line in finished[1].stderr.splitlines() if "  trial " in line]
    assert ended == [[str(count), "of", str(TRIALS)] for count in range(1, TRIALS + 1)]


def test_a_finished_search_answers_again_at_once(finished: Finished) -> None:
    folder, completed = finished
    again = subprocess.run(command(folder / "small.yaml", "--json"), capture_output=True, text=True, check=True)
    assert json.loads(again.stdout) == json.loads(completed.stdout)


def test_a_killed_worker_is_replaced_and_leaves_the_output_clean(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(experiment(tmp_path), "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(tmp_path, 1, process)
    child_workers(process)[0].kill()
    out, said = process.communicate(timeout=180)
    assert json.loads(out)["complete"] == TRIALS
    # A busy test machine may be an unsteady phone for a while, which is said, too.
    assert [
        line
        for line in said.splitlines()
        if "  trial " not in line and not line.startswith(("mnas: loading", "phone "))
    ] == []


def test_a_stopped_worker_ends_with_a_killed_driver(tmp_path: Path) -> None:
    # As after a kill in a quiet window that took the guard along, which would have let the worker go on.
    process = start(experiment(tmp_path))
    wait_for(tmp_path, 1, process)
    worker = child_workers(process)[0]
    worker.suspend()
    process.kill()
    process.communicate()
    worker.wait(timeout=60)
    kill_session(process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_is_clean_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    path = experiment(tmp_path)
    process = start(path)
    wait_for(tmp_path, 1, process)
    for _ in range(3):  # those that follow do not disturb the closing
        process.send_signal(number)
        time.sleep(0.1)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"To go on: mnas search {path} --run-dir {tmp_path / 'run'}" in said
    assert "Traceback" not in said
    assert ended(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 256 kB, less than one state of the controller takes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {mounted.stderr.strip()}")
    return folder


def test_a_full_disk_ends_the_search_with_a_remedy(tmp_path: Path, small_disk: Path) -> None:
    path = experiment(tmp_path)
    arguments = [sys.executable, "-m", "mnas", "search", str(path), "--run-dir", str(small_disk / "run")]
    try:
        completed = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)
    assert completed.returncode == 1
    assert "free some space and run the same command again" in completed.stderr
    assert "Traceback" not in completed.stderr
