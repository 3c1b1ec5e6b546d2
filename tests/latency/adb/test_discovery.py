from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from latency.adb import Address, discover
from latency.adb.keys import load_keys
from latency.loopback.adbd import Adbd
from tests.latency.adb.adb_server import AdbServer
from tests.latency.adb.gatekeeper import Gatekeeper


@pytest.fixture(autouse=True)
def no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an adb server of this machine nor its user's keys."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(listener.getsockname()[1]))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def server(adbd_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbServer]:
    with AdbServer(adbd_root, tmp_path / "server") as server:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        yield server


def test_without_a_server_only_the_given_addresses_are_looked_at(adbd: Adbd) -> None:
    (found,) = discover([adbd.address], timeout_s=20)
    assert (found.address, found.state, found.remedy) == (adbd.address, "ready", "")


def test_the_servers_phones_are_found(server: AdbServer, adbd: Adbd) -> None:
    address = server.connect(adbd.address)
    (found,) = discover(timeout_s=20)
    assert (found.address, found.state) == (address, "ready")


def test_a_frozen_phone_is_unreachable_over_every_way(server: AdbServer, adbd: Adbd) -> None:
    address = server.connect(adbd.address)
    adbd.freeze()
    found = {attached.address: attached.state for attached in discover([adbd.address], timeout_s=0.5)}
    assert found == {address: "unreachable", adbd.address: "unreachable"}


def test_a_phone_whose_daemon_is_dead_is_unreachable_and_says_what_to_do(adbd: Adbd) -> None:
    adbd.kill()
    (found,) = discover([adbd.address], timeout_s=20)
    assert found.state == "unreachable"
    assert "adb tcpip 5555" in found.remedy


def test_an_unknown_key_shows_no_prompt_and_is_unauthorized(adbd: Adbd) -> None:
    with Gatekeeper(adbd.address) as gatekeeper:
        (found,) = discover([gatekeeper.address], keys=load_keys(), timeout_s=20)
        assert found.state == "unauthorized"
        assert gatekeeper.prompts == 0


def test_one_dead_phone_does_not_hide_another(adbd: Adbd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = Address("tcp", f"127.0.0.1:{silent.getsockname()[1]}")
        found = {attached.address: attached.state for attached in discover([dead, adbd.address], timeout_s=3)}
    assert found == {dead: "unreachable", adbd.address: "ready"}


def test_a_phone_that_the_server_may_not_use_is_unauthorized(server: AdbServer, adbd: Adbd) -> None:
    with Gatekeeper(adbd.address) as gatekeeper:
        gatekeeper.accept.clear()
        server.try_to_connect(gatekeeper.address)
        (found,) = discover(timeout_s=20)
    assert found.state == "unauthorized"
    assert "accept the prompt" in found.remedy
