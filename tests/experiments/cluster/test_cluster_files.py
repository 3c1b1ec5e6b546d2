"""The files that start a cluster, as far as they can be checked without one."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import mnas
from mnas.cli import build_parser

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "experiments" / "cluster"
RAY_VERSION = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
# What stands for srun, ray and mnas; each writes its arguments and what it finds in its environment.
STAND_IN = """#!{python}
import os, signal, socket, sys, time
from pathlib import Path
name, words = Path(sys.argv[0]).name, sys.argv[1:]
if name != "srun":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3 if name == "mnas" else 0))
with open({log!r}, "a") as log:
    print(name, *words, "token" if os.environ.get("RAY_AUTH_TOKEN") else "open", file=log)
if name == "srun":
    os.execvp("bash", words[words.index("bash"):])
if "--head" in words:
    port = next(word for word in words if word.startswith("--port=")).removeprefix("--port=")
    server = socket.create_server(("127.0.0.1", int(port)))
if name == "ray" or os.environ.get("LONG"):
    time.sleep(30)
"""
# As many nodes as have called `ray start`.
RAY_MODULE = """from pathlib import Path
def init(**options): pass
def nodes(): return [{'Alive': line.startswith('ray start')} for line in Path(__file__, '../log').resolve().open()]
"""


def document(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def ray_version() -> str:
    assert RAY_VERSION is not None
    return RAY_VERSION.group(1)


def containers(job: Any) -> list[Any]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def test_ray_accepts_the_file_of_ray_up() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(document("ray_up.yaml")))


@pytest.mark.parametrize("key", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_every_host_of_ray_up_asks_for_the_token(key: str) -> None:
    *_, start = document("ray_up.yaml")[key]
    assert "RAY_AUTH_MODE=token" in start


def test_the_files_that_ray_up_copies_are_there_or_are_built() -> None:
    local = set(document("ray_up.yaml")["file_mounts"].values())
    assert {path for path in local if not (ROOT / path).exists()} == {"dist", "~/.ray/auth_token"}


def test_the_ray_job_has_the_fields_of_its_kind() -> None:
    job = document("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"].keys() == {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "rayClusterSpec"}
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster.keys() == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    assert cluster["headGroupSpec"].keys() == {"rayStartParams", "template"}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    # A map of strings: YAML would make a number of 0.
    assert all(isinstance(value, str) for value in cluster["headGroupSpec"]["rayStartParams"].values())


def test_every_container_sees_the_same_folder() -> None:
    mounts = [container["volumeMounts"] for container in containers(document("rayjob.yaml"))]
    assert mounts == [mounts[0]] * 2


def test_the_search_of_the_ray_job_is_a_command_of_ours() -> None:
    program, *words = shlex.split(document("rayjob.yaml")["spec"]["entrypoint"])
    assert program == "mnas"
    build_parser().parse_args(words)


def test_versions_are_those_of_the_constraints() -> None:
    job = document("rayjob.yaml")
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray_version()
    images = {container["image"] for container in containers(job)}
    assert images == {f"mnas:{mnas.__version__}"}
    assert f"-t mnas:{mnas.__version__} ." in (FOLDER / "Dockerfile").read_text()


def test_the_image_copies_files_that_are_there() -> None:
    for line in (FOLDER / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            *sources, _ = line.split()[1:]
            assert [name for name in sources if not (ROOT / name).exists()] == []


def test_the_image_copies_every_package() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "tools"}
    assert [name for name in sorted(packages) if f"COPY {name} {name}\n" not in text] == []


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job of two nodes, in which every program is a stand-in."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("srun", "ray", "mnas"):
        (programs / name).write_text(STAND_IN.format(python=sys.executable, log=str(tmp_path / "log")))
        (programs / name).chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    (tmp_path / "ray.py").write_text(RAY_MODULE)
    port = 20_000 + os.getpid() % 10_000
    return os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path),
        "HEAD_ADDRESS": "127.0.0.1",
        "PORT": str(port),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURMD_NODENAME": "head",
        "SLURM_CPUS_ON_NODE": "8",
    }


def start(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    words = ["bash", str(FOLDER / "slurm.sh"), "experiment.yaml", "runs/one"]
    return subprocess.Popen(words, env=environment, start_new_session=True)


def log(environment: dict[str, str]) -> str:
    path = Path(environment["PYTHONPATH"], "log")
    return path.read_text() if path.exists() else ""


def test_a_slurm_job_starts_head_and_workers_then_the_search(slurm: dict[str, str]) -> None:
    assert start(slurm).wait(20) == 0
    said = log(slurm)
    port = slurm["PORT"]
    # One task a node; else srun starts as many as the job has.
    for nodes in ("--nodelist=head", "--exclude=head"):
        assert f"srun --overlap --cpu-bind=none --nodes=1 --ntasks=1 {nodes} bash" in said
    assert f"ray start --head --block --include-dashboard=false --node-ip-address=127.0.0.1 --port={port}" in said
    assert f"ray start --block --address=127.0.0.1:{port} --num-cpus=8 token" in said
    assert "mnas search experiment.yaml --run-dir runs/one --set search.ray_address=auto token" in said
    assert "open" not in said


def test_a_slurm_job_ends_the_search_cleanly_and_hands_its_code_on(slurm: dict[str, str]) -> None:
    job = start(slurm | {"LONG": "1"})
    deadline_s = time.monotonic() + 20
    while "mnas search" not in log(slurm):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    assert job.wait(20) == 3
