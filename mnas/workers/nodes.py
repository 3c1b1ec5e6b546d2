"""Whether every node of a cluster can train the children of a search: the same code, and the data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import mnas
from mnas.data.node_paths import VARIABLE, path_on_this_host
from mnas.errors import ConfigurationError
from mnas.mindspore_setup import Device
from mnas.workers.cluster import RESOURCE

# A node imports mnas for its answer, perhaps from a slow disk.
ANSWER_TIMEOUT_S = 120.0
MOST_SAID = 10
PACKAGES = ("controllers", "latency", "mnas", "search_space")
# Python and Ray are compared by Ray itself.
DISTRIBUTIONS = ("mindspore", "numpy")


@dataclass(frozen=True)
class Answer:
    """What a node has.

    Attributes:
        versions: Of mnas and of the packages that decide what a child computes, by name.
        missing: Files and folders that are not there: the path of the search, and where this node looked for it.
    """

    versions: Mapping[str, str]
    missing: Sequence[tuple[Path, Path]] = ()


def check_nodes(paths: Sequence[Path], device: Device) -> None:
    """See that all nodes of the running cluster that train networks have this mnas and the files that they read.

    Raises:
        ConfigurationError: Some cannot; a line for each names the node, and what it has.
    """
    answers = _ask(training_nodes(ray.nodes(), device), paths)
    here = versions_here()
    found = [line for node, answer in answers.items() for line in differences(node, answer, here)]
    if found:
        more = [f"and {len(found) - MOST_SAID} more"] if len(found) > MOST_SAID else []
        raise ConfigurationError("search.ray_address: " + "\n".join(found[:MOST_SAID] + more))


def training_nodes(nodes: Iterable[Mapping[str, Any]], device: Device) -> dict[str, str]:
    """Return the nodes that workers can be on: Ray's id, and a name for people."""
    return {
        node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        for node in nodes
        if node["Alive"] and node["Resources"].get(RESOURCE[device], 0) > 0
    }


def differences(node: str, answer: Answer | str, here: Mapping[str, str]) -> list[str]:
    """Return what keeps a node from training the children of this search, one line each.

    Args:
        node: Its name.
        answer: What it has, or why it has not answered.
        here: The versions of this process.
    """
    if isinstance(answer, str):
        return [
            f"node {node} cannot take part: {answer}; see that the mnas that is installed there is the same as here"
        ]
    lines = []
    if dict(answer.versions) != dict(here):
        lines.append(
            f"node {node} has {_listed(answer.versions)}, and this process {_listed(here)}; install the same on both, "
            "and start Ray there again"
        )
    if answer.missing:
        path, there = answer.missing[0]
        lines.append(
            f"node {node} has no {there}, which training reads; mount or copy the data there, or start Ray there with "
            f"{VARIABLE}={path}=PATH if it is at another path"
        )
    return lines


def look(paths: Sequence[Path]) -> Answer:
    """Return what this machine has; runs on a node."""
    places = [(path, path_on_this_host(path)) for path in paths]
    return Answer(versions_here(), [(path, there) for path, there in places if not there.exists()])


def versions_here() -> dict[str, str]:
    """Return the versions of this process."""
    root = Path(mnas.__file__).parents[1]
    return {"mnas": f"{mnas.__version__} (code {code_digest(root)})"} | {name: _version(name) for name in DISTRIBUTIONS}


def code_digest(root: Path) -> str:
    """Return eight hex digits that tell states of the code apart; versions of a checkout have the same number."""
    digest = hashlib.sha256()
    for path in sorted(path for name in PACKAGES for path in (root / name).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith("mnas/bundled/"):  # a wheel alone has it
            digest.update(f"{name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:8]


def _ask(nodes: Mapping[str, str], paths: Sequence[Path]) -> dict[str, Answer | str]:
    """Ask every node at once; return the answers by the nodes' names."""
    asked = {}
    for node_id in nodes:
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        asked[node_id] = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(look).remote(paths)
    if asked:
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_TIMEOUT_S)
    answers: dict[str, Answer | str] = {}
    for node_id, reference in asked.items():
        try:
            answers[nodes[node_id]] = ray.get(reference, timeout=0)
        except GetTimeoutError:
            answers[nodes[node_id]] = f"no answer within {ANSWER_TIMEOUT_S:g} s"
        except RayError as error:
            answers[nodes[node_id]] = str(error).strip().splitlines()[-1]
    return answers


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
