"""Which nodes are fit for a search, by what they answer; Ray is not started."""

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import GetTimeoutError, RayError

from mnas.data import DigitsSettings, SearchData
from mnas.data.node_paths import VARIABLE, read_files
from mnas.errors import ConfigurationError
from mnas.workers import nodes
from mnas.workers.dispatch import Node
from mnas.workers.nodes import (
    Answer,
    NodeCheck,
    check_nodes,
    code_digest,
    differences,
    has_left,
    look,
    training_nodes,
    versions_here,
)

OURS = {"mnas": "0.2.0 (code 12345678)", "mindspore": "2.10.0"}


def node_id(name: str) -> str:
    """Return what Ray takes for an id."""
    return name.encode().hex().ljust(56, "0")


def ray_node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {
        "NodeID": node_id(name),
        "NodeManagerHostname": name,
        "NodeManagerAddress": "10.0.0.1",
        "Alive": alive,
        "Resources": {"memory": 1e9, **resources},
    }


def test_nodes_that_train_are_those_alive_with_the_device() -> None:
    found = [ray_node("a", NPU=8), ray_node("b", CPU=4), ray_node("c", alive=False, NPU=8), ray_node("d", NPU=0)]
    assert training_nodes(found, "Ascend", 2) == {node_id("a"): Node("a (10.0.0.1)", 16)}


def test_a_node_has_left_if_ray_says_so_or_nothing_answers_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as raylet:
        port = raylet.getsockname()[1]
        node = ray_node("a") | {"NodeManagerAddress": "127.0.0.1", "NodeManagerPort": port}
        monkeypatch.setattr("ray.nodes", lambda: [node, ray_node("dead", alive=False)])
        assert [has_left(node_id(name)) for name in ("a", "dead", "unknown")] == [False, True, True]
    assert has_left(node_id("a"))


def test_an_equal_node_with_the_data_is_fit() -> None:
    assert differences("a", Answer(dict(OURS)), OURS) == []


@pytest.mark.parametrize(
    "theirs",
    [OURS | {"mnas": "0.1.0 (code 12345678)"}, OURS | {"mnas": "0.2.0 (code 0)"}, OURS | {"mindspore": "2.9.0"}],
)
def test_another_version_is_said_with_the_node_and_both(theirs: dict[str, str]) -> None:
    (line,) = differences("a (10.0.0.1)", Answer(theirs), OURS)
    assert line.startswith(f"node a (10.0.0.1) has mnas {theirs['mnas']}, mindspore {theirs['mindspore']}, and this")
    assert f"mnas {OURS['mnas']}, mindspore {OURS['mindspore']}; install" in line


def test_data_that_is_not_there_is_said_with_the_node_and_the_remedy() -> None:
    missing = [(Path("/data/train"), Path("/mnt/train")), (Path("/data/train/a"), Path("/mnt/train/a"))]
    (line,) = differences("a", Answer(OURS, missing), OURS)
    assert line.startswith("node a has no /mnt/train, which")
    assert f"{VARIABLE}=/data/train=PATH" in line


def test_a_node_without_an_answer_is_said_with_its_reason() -> None:
    (line,) = differences("a", "ModuleNotFoundError: No module named 'mnas'", OURS)
    assert line.startswith("node a cannot take part: ModuleNotFoundError: No module named 'mnas'; see that the mnas")


def test_a_node_looks_at_its_own_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train").mkdir()
    monkeypatch.setenv(VARIABLE, f"/data={tmp_path}")
    answer = look([Path("/data/train"), Path("/data/test")])
    assert answer.missing == [(Path("/data/test"), tmp_path / "test")]
    assert answer.versions == versions_here()


def test_the_code_of_a_wheel_equals_that_of_its_checkout_until_a_file_differs(tmp_path: Path) -> None:
    for root, more in (("checkout", ()), ("wheel", ("mnas/bundled/__init__.py",)), ("other", ("mnas/new.py",))):
        for name in ("mnas/__init__.py", *more):
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("VERSION = 1\n")
    checkout, wheel, other = (code_digest(tmp_path / name) for name in ("checkout", "wheel", "other"))
    assert checkout == wheel != other


class ArrangedRay:
    """Has two nodes that train, and one that does not; runs what is asked of a node here."""

    def __init__(self, answers: Mapping[str, Exception], monkeypatch: pytest.MonkeyPatch) -> None:
        self._answers = answers
        monkeypatch.setattr("ray.nodes", lambda: [ray_node("a", CPU=2), ray_node("b", CPU=2), ray_node("phones")])
        monkeypatch.setattr("ray.remote", self.remote)
        monkeypatch.setattr("ray.wait", lambda references, num_returns=1, timeout=0: (references, []))
        monkeypatch.setattr("ray.get", self.get)

    def remote(self, *, scheduling_strategy: Any, **options: float) -> Callable[[Any], Any]:
        def asked(function: Callable[[Any], Any]) -> Any:
            return SimpleNamespace(remote=lambda paths: (scheduling_strategy.node_id, function(paths)))

        return asked

    def get(self, reference: tuple[str, Answer], timeout: float) -> Answer:
        node, answer = reference
        if node in self._answers:
            raise self._answers[node]
        return answer


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RayError("Traceback\nModuleNotFoundError: No module named 'mnas'"), "ModuleNotFoundError: No module named"),
        (GetTimeoutError("Get timed out"), "no answer within 120 s"),
    ],
)
def test_every_node_that_trains_is_asked(
    digits: SearchData, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    ArrangedRay({node_id("b"): error}, monkeypatch)
    with pytest.raises(ConfigurationError) as caught:
        check_nodes(read_files(digits), "CPU")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"search.ray_address: node b (10.0.0.1) cannot take part: {said}")


@pytest.fixture
def digits() -> SearchData:
    return DigitsSettings(image_size=16, reward_images=100, train_images=256).load_search()


def test_every_unfit_node_has_a_line_up_to_a_limit(digits: SearchData, monkeypatch: pytest.MonkeyPatch) -> None:
    ArrangedRay({}, monkeypatch)
    names = [f"n{number}" for number in range(nodes.MOST_SAID + 2)]
    monkeypatch.setattr("ray.nodes", lambda: [ray_node(name, CPU=1) for name in names])
    monkeypatch.setattr(nodes, "look", lambda paths: Answer({"mnas": "0.1.0"}))
    with pytest.raises(ConfigurationError) as caught:
        check_nodes(read_files(digits), "CPU")
    first, *lines, last = str(caught.value).splitlines()
    assert first.startswith("search.ray_address: node n0 (10.0.0.1) has mnas 0.1.0, and this process mnas")
    assert len(lines) == nodes.MOST_SAID - 1
    assert last == "and 2 more"


def test_a_cluster_of_equal_nodes_is_accepted(digits: SearchData, monkeypatch: pytest.MonkeyPatch) -> None:
    ArrangedRay({}, monkeypatch)
    nodes_there = training_nodes(ray.nodes(), "CPU")
    assert check_nodes(read_files(digits), "CPU").fit(nodes_there) == nodes_there


def test_a_node_that_joins_is_asked_once_and_left_out_if_it_is_not_fit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ArrangedRay({node_id("b"): RayError("No module named mnas")}, monkeypatch)
    there = training_nodes(ray.nodes(), "CPU")
    check = NodeCheck([])
    assert [list(check.fit(there)) for _ in range(3)] == [[node_id("a")]] * 3
    (said,) = caplog.messages
    assert said.startswith("mnas: node b (10.0.0.1) cannot take part: No module named mnas; see that")
    assert said.endswith("It is left out")


def test_a_node_that_has_not_answered_yet_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    ArrangedRay({}, monkeypatch)
    monkeypatch.setattr("ray.wait", lambda references, num_returns=1, timeout=0: ([], references))
    assert NodeCheck([]).fit(training_nodes(ray.nodes(), "CPU")) == {}
