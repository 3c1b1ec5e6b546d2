"""Joining a cluster: addresses where nothing listens, and what a cluster answers; Ray itself is not started."""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mnas.errors import ConfigurationError
from mnas.workers import join
from mnas.workers.join import Answer, check_address

JOINED, WANTS_TOKEN = Answer(True, False, "joined"), Answer(False, True, "InvalidAuthToken")


@pytest.fixture
def listening() -> "Iterator[socket.socket]":
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("address", ["", "head", "head:", "head:port", "head:0", "head:70000", ":6379", "ray://head:1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"search\.ray_address.*HOST:PORT"):
        check_address(address)


def test_a_dead_address_is_known_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}: nothing answers there.*ray start --head"):
        check_address(f"127.0.0.1:{port}")


def test_auto_is_the_address_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:1: nothing answers"):
        check_address("auto")


def test_auto_is_the_last_cluster_that_ran_here_if_none_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("psutil.process_iter", lambda attributes: iter(()))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:1: nothing answers"):
        check_address("auto")


class ArrangedCluster:
    """Answers by the token mode of those who ask."""

    def __init__(self, answers: Mapping[str | None, Answer], monkeypatch: pytest.MonkeyPatch) -> None:
        self._answers = answers
        self.token_mode = False
        monkeypatch.setattr(join, "try_to_join", self.ask)
        monkeypatch.setattr(join, "turn_token_mode_on", self.turn_on)
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)

    def ask(self, address: str, environment: Mapping[str, str]) -> Answer:
        return self._answers[environment.get("RAY_AUTH_MODE")]

    def turn_on(self) -> None:
        self.token_mode = True


def address_of(server: "socket.socket") -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(("wants", "expected"), [(False, False), (True, True)])
def test_our_token_is_shown_to_a_cluster_that_wants_one(
    listening: "socket.socket", monkeypatch: pytest.MonkeyPatch, wants: bool, expected: bool
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ours")
    cluster = ArrangedCluster({None: WANTS_TOKEN if wants else JOINED, "token": JOINED}, monkeypatch)
    check_address(address_of(listening))
    assert cluster.token_mode is expected


@pytest.mark.parametrize("token", ["ours", ""])
def test_a_token_that_is_missing_or_wrong_is_said(
    listening: "socket.socket", monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    monkeypatch.setenv("HOME", "/nowhere")
    ArrangedCluster({None: WANTS_TOKEN, "token": WANTS_TOKEN}, monkeypatch)
    with pytest.raises(ConfigurationError, match=r"wants a token.*RAY_AUTH_MODE=token"):
        check_address(address_of(listening))


def test_what_cannot_be_joined_for_another_reason_is_said(
    listening: "socket.socket", monkeypatch: pytest.MonkeyPatch
) -> None:
    ArrangedCluster({None: Answer(False, False, "Version mismatch")}, monkeypatch)
    with pytest.raises(ConfigurationError, match=r"Version mismatch.*ray status"):
        check_address(address_of(listening))


def test_one_that_listens_and_is_no_ray_is_left_in_time(
    listening: "socket.socket", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "_JOIN", "import time; time.sleep(600)")
    assert join.try_to_join(address_of(listening), {}, timeout_s=0.2) == Answer(False, False, "no answer within 0.2 s")
