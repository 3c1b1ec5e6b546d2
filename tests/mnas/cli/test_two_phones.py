"""`mnas search` with two phone models and the cache: two cores of this machine stand for two models of phone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mnas.reward import RewardSettings, reward

OTHER = f"host:{min(os.sched_getaffinity(0))}"
# A busy test machine is good enough to see that all numbers arrive.
TOLERANT = {
    "warmup_min_ms": 0.0,
    "contention_limit": 10.0,
    "relative_mad_limit": 1.0,
    "switches_per_s_limit": 1e6,
    "others_busy_limit": 1e3,
    "drift_limit": 1e3,
    "calibration_s": 0.0,
}
DOCUMENT: dict[str, Any] = {
    "space": "tiny16",
    "controller": {"name": "random"},
    "data": {"format": "digits", "image_size": 16, "reward_images": 100, "train_images": 128},
    "training": {"epochs": 1, "learning_rate": 0.01, "norm_momentum": 0.9},
    "search": {"trials": 3, "workers": 1},
    "latency": {
        "phone": "host",
        "target_ms": 0.1,
        "others": {OTHER: {"target_ms": 0.02}},
        "reward_from": "worst",
        "measurement": TOLERANT,
    },
}


def mnas(*arguments: object) -> str:
    command = [sys.executable, "-m", "mnas", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one search after the other over the same networks, `first` and `second`, and one cache."""
    folder = tmp_path_factory.mktemp("two_phones")
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(DOCUMENT))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNAS_LATENCY_CACHE", str(folder / "latency.sqlite3"))
        for name in ("first", "second"):
            mnas("search", path, "--run-dir", folder / name)
    return folder


def trials(run: Path) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(mnas("show", run, "--json"))["trials"]
    return [trial for trial in shown if trial["repeat_of"] is None]


def test_every_trial_has_a_record_of_each_phone(folder: Path) -> None:
    for trial in trials(folder / "first"):
        assert trial["latency"]["phone"]["name"] == "host"
        assert trial["latency"]["others"][OTHER]["phone"]["name"] == OTHER


def test_the_worst_ratio_decides_the_reward(folder: Path) -> None:
    for trial in trials(folder / "first"):
        pairs = [(trial["latency_ms"], 0.1), (trial["latency"]["others"][OTHER]["latency_ms"], 0.02)]
        worst = max(pairs, key=lambda pair: pair[0] / pair[1])
        assert trial["reward"] == reward(trial["accuracy"], *worst, RewardSettings())


def test_show_and_best_have_the_latency_of_each_phone(folder: Path) -> None:
    first = folder / "first"
    assert f"latency_ms  {OTHER}_ms" in mnas("show", first)
    assert f" ms on {OTHER}" in mnas("best", first)
    assert OTHER in yaml.safe_load((first / "best.yaml").read_text())["lineage"]["other_latencies_ms"]


def test_a_second_search_of_the_same_networks_measures_nothing(folder: Path) -> None:
    first, second = ([trial["latency"] for trial in trials(folder / name)] for name in ("first", "second"))
    assert first == second
