"""A whole search whose latencies come over adb, from a real adbd; killed and resumed, too."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latency.android.profile import write_profile
from latency.loopback.adbd import Adbd
from latency.loopback.phone import phone_profile
from mnas.documents.yaml_file import dump, read
from mnas.search.store import StoreError, Trial, TrialStore

QUICKSTART = Path(__file__).parents[3] / "experiments" / "phone_quickstart.yaml"
TRIALS = 4
# A test machine may be busy; which latencies count is tested with the protocol.
TOLERANT = {
    "warmup_min_ms": 20,
    "runs": 10,
    "contention_limit": 10.0,
    "relative_mad_limit": 1.0,
    "switches_per_s_limit": 1e6,
    "others_busy_limit": 1e3,
    "drift_limit": 1e3,
    "faster_limit": 1.0,
}


@pytest.fixture
def experiment(adbd: Adbd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The phone quickstart, made short, on a phone that plays `my-phone`."""
    monkeypatch.setenv("MNAS_PHONES", str(tmp_path / "phones"))
    profile, _ = phone_profile(adbd, name="my-phone")
    write_profile(profile)
    document = read(QUICKSTART, dict)
    document["search"] |= {"trials": TRIALS, "workers": 1}
    document["training"] |= {"epochs": 1}
    document["training"]["schedule"] = {"name": "constant"}
    document["latency"]["measurement"] = TOLERANT
    path = tmp_path / "search.yaml"
    path.write_text(dump(document))
    return path


def command(experiment: Path) -> list[str]:
    return [sys.executable, "-m", "mnas", "search", str(experiment), "--run-dir", str(experiment.parent / "run")]


def trials(experiment: Path) -> dict[int, Trial]:
    """All trials by id; none while the search has not begun."""
    try:
        return {trial.id: trial for trial in TrialStore(experiment.parent / "run" / "trials.sqlite").trials()}
    except StoreError:
        return {}


def test_a_search_killed_and_resumed_has_every_latency_from_its_phone_and_loses_no_trial(
    experiment: Path, adbd: Adbd
) -> None:
    running = subprocess.Popen(command(experiment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not any(trial.latency for trial in trials(experiment).values()):
        assert time.monotonic() < deadline, "no trial was timed"
        time.sleep(0.1)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = {number: trial for number, trial in trials(experiment).items() if trial.state == "complete"}
    done = subprocess.run(command(experiment), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    after = trials(experiment)
    assert {number: after[number] for number in before} == before
    assert {number: trial.state for number, trial in after.items()} == dict.fromkeys(range(1, TRIALS + 1), "complete")
    phones = [trial.latency["phone"] for trial in after.values() if trial.latency]
    assert [(phone["kind"], phone["serial"]) for phone in phones] == [("adb", adbd.address.target)] * TRIALS
