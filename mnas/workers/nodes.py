"""The nodes of a cluster that can train the children of a search: those with a device, the same code, and the data."""

from __future__ import annotations

import hashlib
import logging
import socket
import time
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
from mnas.workers.dispatch import Node

_LOG = logging.getLogger(__name__)
# A node imports mnas for its answer, perhaps from a slow disk.
ANSWER_TIMEOUT_S = 120.0
# The raylet of a node that is there answers at once.
CONNECT_S = 5.0
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


def check_nodes(paths: Sequence[Path], device: Device) -> NodeCheck:
    """See that all nodes of the running cluster that train networks have this mnas and the files that they read.

    Returns:
        What asks the nodes that join later.

    Raises:
        ConfigurationError: Some cannot; a line for each names the node, and what it has.
    """
    nodes = training_nodes(ray.nodes(), device)
    check = NodeCheck(paths)
    found = check.ask_and_wait(nodes)
    if found:
        more = [f"and {len(found) - MOST_SAID} more"] if len(found) > MOST_SAID else []
        raise ConfigurationError("search.ray_address: " + "\n".join(found[:MOST_SAID] + more))
    return check


def training_nodes(nodes: Iterable[Mapping[str, Any]], device: Device, workers_per_device: int = 1) -> dict[str, Node]:
    """Return the nodes that workers can be on, by Ray's ids."""
    devices = {node["NodeID"]: int(node["Resources"].get(RESOURCE[device], 0)) for node in nodes if node["Alive"]}
    return {
        node["NodeID"]: Node(
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            devices[node["NodeID"]] * workers_per_device,
        )
        for node in nodes
        if devices.get(node["NodeID"], 0) > 0
    }


def has_left(node_id: str) -> bool:
    """Return whether a node is gone, also if Ray has not noticed it yet: that can take it 15 s."""
    for node in ray.nodes():
        if node["NodeID"] == node_id and node["Alive"]:
            try:
                socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), CONNECT_S).close()
            except OSError:
                return True
            return False
    return True


class NodeCheck:
    """Asks each node once whether it can train the children of this search."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Ask no node yet; `paths` are what children read."""
        self._paths = paths
        self._here = versions_here()
        self._asked: dict[str, tuple[Any, float]] = {}
        self._fit: dict[str, bool] = {}

    def ask_and_wait(self, nodes: Mapping[str, Node]) -> list[str]:
        """Ask nodes and wait for their answers; return what keeps any from taking part, a line each."""
        self._ask(nodes)
        references = [reference for reference, _ in self._asked.values()]
        if references:
            ray.wait(references, num_returns=len(references), timeout=ANSWER_TIMEOUT_S)
        return [line for node_id in list(self._asked) for line in self._hear(node_id, nodes[node_id].name)]

    def fit(self, nodes: Mapping[str, Node]) -> dict[str, Node]:
        """Return those of the nodes that can take part; ask new ones, and say why one cannot."""
        self._ask({node_id: node for node_id, node in nodes.items() if node_id not in self._fit})
        for node_id, (reference, asked_s) in list(self._asked.items()):
            done, _ = ray.wait([reference], timeout=0)
            if done or time.monotonic() - asked_s > ANSWER_TIMEOUT_S:
                for line in self._hear(node_id, nodes[node_id].name if node_id in nodes else node_id):
                    _LOG.warning("mnas: %s. It is left out", line)
        return {node_id: node for node_id, node in nodes.items() if self._fit.get(node_id, False)}

    def _ask(self, nodes: Iterable[str]) -> None:
        for node_id in nodes:
            if node_id not in self._asked:
                there = NodeAffinitySchedulingStrategy(node_id, soft=False)
                question = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(look)
                self._asked[node_id] = question.remote(self._paths), time.monotonic()

    def _hear(self, node_id: str, name: str) -> list[str]:
        """Take the answer of a node; return what keeps it from taking part."""
        reference, _ = self._asked.pop(node_id)
        lines = differences(name, _answer(reference), self._here)
        self._fit[node_id] = not lines
        return lines


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


def _answer(reference: Any) -> Answer | str:
    """Return the answer of a node, or why there is none."""
    try:
        answer: Answer = ray.get(reference, timeout=0)
    except GetTimeoutError:
        return f"no answer within {ANSWER_TIMEOUT_S:g} s"
    except RayError as error:
        return str(error).strip().splitlines()[-1]
    return answer


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
