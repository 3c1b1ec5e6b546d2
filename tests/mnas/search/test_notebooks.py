"""A search in what a notebook is: no main guard, code that comes from no file, an event loop that runs, Ray in use."""

import subprocess
import sys
from pathlib import Path

CELLS = """
import asyncio
import mnas

experiment = mnas.Experiment.from_dict(
    {
        "space": "tiny16",
        "data": {"format": "digits", "image_size": 16, "reward_images": 100, "train_images": 128},
        "training": {"epochs": 1, "learning_rate": 0.01, "norm_momentum": 0.9},
        "search": {"trials": 2, "workers": 1},
        "latency": {"target_ms": 0.1},
    }
)


async def cell(directory):
    print("complete", experiment.run(directory).counts()["complete"])
"""


def execute(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-"], input=CELLS + code, cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ray_is_started_and_shut_down(tmp_path: Path) -> None:
    said = execute("asyncio.run(cell('run'))\nimport ray\nprint('ray runs', ray.is_initialized())", tmp_path)
    assert "complete 2" in said
    assert "ray runs False" in said


def test_a_ray_that_runs_is_used_and_left_running(tmp_path: Path) -> None:
    code = (
        "import ray\n"
        "ray.init(address='local', num_cpus=1, include_dashboard=False, log_to_driver=False)\n"
        "node = ray.get_runtime_context().get_node_id()\n"
        "asyncio.run(cell('one'))\n"
        "asyncio.run(cell('two'))\n"  # needs the core that the first search has given back
        "print('the same', ray.get_runtime_context().get_node_id() == node)"
    )
    said = execute(code, tmp_path)
    assert said.count("complete 2") == 2
    assert "the same True" in said
