from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latency.adb import Address, connect
from latency.adb.keys import load_keys
from latency.errors import LatencyError, PhoneError, PhoneGoneError, PhoneTimeoutError, ToolError
from latency.loopback.adbd import Adbd
from tests.latency.adb.gatekeeper import Gatekeeper


def fail_if_prompted() -> None:
    pytest.fail("the phone was made to show a prompt")


def error_of(call: Callable[[], object]) -> LatencyError:
    with pytest.raises(LatencyError) as caught:
        call()
    return caught.value


@contextmanager
def answering(answer: bytes | None) -> Iterator[Address]:
    """Something that listens and sends this, or only listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connected, _ = listener.accept()
            with connected:
                if answer is not None:
                    connected.sendall(answer)
                while connected.recv(1 << 20):  # Until the other side hangs up.
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield Address("tcp", f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join(20)


@pytest.fixture
def gatekeeper(adbd: Adbd) -> Iterator[Gatekeeper]:
    with Gatekeeper(adbd.address) as gatekeeper:
        yield gatekeeper


def load_keys_of(tmp_path: Path) -> list[object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path / "home"))
        patch.delenv("ADB_VENDOR_KEYS", raising=False)
        keys = load_keys()
    (tmp_path / "keys").mkdir(exist_ok=True)
    (tmp_path / "keys" / "adbkey.pub").write_bytes((tmp_path / "home/.android/adbkey.pub").read_bytes())
    return keys


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address("tcp", f"127.0.0.1:{listener.getsockname()[1]}")
    error = error_of(lambda: connect(address, keys=[]))
    assert (type(error), error.kind) == (PhoneGoneError, "phone_gone")
    assert "adb tcpip 5555" in str(error)


def test_nothing_is_said() -> None:
    with answering(None) as address:
        error = error_of(lambda: connect(address, keys=[], timeout_s=0.3))
    assert (type(error), error.kind) == (PhoneTimeoutError, "timeout")


def test_what_listens_is_not_adbd() -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        error = error_of(lambda: connect(address, keys=[]))
    assert (type(error), error.kind) == (ToolError, "adb_protocol")


def test_wireless_debugging_is_named_with_what_to_do_instead() -> None:
    code = int.from_bytes(b"STLS", "little")
    words = (code, 0x01000000, 0, 0, 0, code ^ 0xFFFFFFFF)
    with answering(b"".join(word.to_bytes(4, "little") for word in words)) as address:
        error = error_of(lambda: connect(address, keys=[]))
    assert error.kind == "adb_protocol"
    assert "server:SERIAL" in str(error)


def test_a_known_key_is_let_in_without_a_prompt(gatekeeper: Gatekeeper, tmp_path: Path) -> None:
    keys = load_keys_of(tmp_path)
    gatekeeper.known_keys.append((tmp_path / "keys/adbkey.pub").read_bytes())
    with connect(gatekeeper.address, keys=keys, on_prompt=fail_if_prompted) as device:
        assert device.shell(["echo", "in"], timeout_s=20).stdout == "in\n"


def test_each_key_is_tried(gatekeeper: Gatekeeper, tmp_path: Path) -> None:
    other = load_keys_of(tmp_path / "other")
    keys = load_keys_of(tmp_path / "own")
    gatekeeper.known_keys.append((tmp_path / "own/keys/adbkey.pub").read_bytes())
    with connect(gatekeeper.address, keys=[*other, *keys], on_prompt=fail_if_prompted) as device:
        assert device.shell(["echo", "in"], timeout_s=20).stdout == "in\n"


def test_a_new_key_is_let_in_once_the_user_accepts_it(gatekeeper: Gatekeeper, tmp_path: Path) -> None:
    keys = load_keys_of(tmp_path)
    with connect(gatekeeper.address, keys=keys, on_prompt=gatekeeper.accept.set) as device:
        assert device.shell(["echo", "in"], timeout_s=20).stdout == "in\n"
    connect(gatekeeper.address, keys=keys, on_prompt=fail_if_prompted).close()


def test_a_key_that_nobody_accepts_is_unauthorized(gatekeeper: Gatekeeper, tmp_path: Path) -> None:
    keys = load_keys_of(tmp_path)
    error = error_of(lambda: connect(gatekeeper.address, keys=keys, on_prompt=lambda: None, authorize_timeout_s=0.5))
    assert (type(error), error.kind) == (PhoneError, "phone_unauthorized")
    assert gatekeeper.prompts == 1


def test_without_a_key_a_phone_that_wants_one_is_unauthorized(gatekeeper: Gatekeeper) -> None:
    assert error_of(lambda: connect(gatekeeper.address, keys=[])).kind == "phone_unauthorized"


def test_no_adb_server_is_started_where_none_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    assert error_of(lambda: connect(Address("server", "SERIAL"))).kind == "phone_gone"
    time.sleep(0.5)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
