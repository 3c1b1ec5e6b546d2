"""What an adb server can say, and where it can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.adb import Address, Attached, connect, discover
from latency.adb import discovery as discovery_module
from latency.adb.server import ServerDevice, parse_device, server_devices, server_phones
from latency.adb.server_address import server_address
from latency.adb.usb import UsbDevice
from latency.errors import LatencyError, PhoneError, PhoneTimeoutError, ToolError
from tests.latency.adb.fake_server import SILENT, FakeServer

MDNS = "adb-1A2B3C4D5E6F-abcdef (2)._adb-tls-connect._tcp"
TWICE = "0123456789ABCDEF"
NO_PERMISSIONS = "no permissions (missing udev rules? user is in the plugdev group); see [http://example] usb:1-2"
ID = "Pixel 7a\n{serial}\nboot-1\n"


@pytest.fixture(autouse=True)
def no_other_phones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ADB_SERVER_SOCKET", raising=False)
    monkeypatch.delenv("ANDROID_ADB_SERVER_ADDRESS", raising=False)
    monkeypatch.setattr(discovery_module, "usb_devices", list)
    monkeypatch.setenv("HOME", str(tmp_path))


Use = Callable[[FakeServer], FakeServer]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    def use(server: FakeServer) -> FakeServer:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        return server

    return use


def test_a_serial_with_spaces_is_one_serial(use: Use) -> None:
    with FakeServer([(MDNS, "device product:lynx model:Pixel_7a transport_id:2")], {MDNS: ID}) as server:
        use(server)
        (found,) = discover(keys=[])
        assert (found.address, found.state) == (Address("server", MDNS), "ready")
        assert Address.parse(str(found.address)) == found.address
        assert connect(found.address).shell(["true"], 2).status == 0


@pytest.mark.parametrize("serial", ["my device (3)", "an offline recovery", "A"])
def test_a_serial_that_looks_like_a_state_is_told_by_the_short_list(use: Use, serial: str) -> None:
    with FakeServer([(serial, "device model:X transport_id:2")]) as server:
        use(server)
        assert server_devices() == [ServerDevice(serial, "device", "X", None, 2)]


def test_two_phones_of_one_serial_have_an_address_each(use: Use) -> None:
    lines = [(TWICE, f"device usb:1-{port} model:Cheap transport_id:{port}") for port in (1, 2)]
    answers = {"usb:1-1": "Cheap\nserial\nboot-1\n", "usb:1-2": "Cheap\nserial\nboot-2\n", TWICE: "FAIL more than one"}
    with FakeServer(lines, answers) as server:
        use(server)
        found = discover(keys=[])
        assert [(str(each.address), each.state) for each in found] == [
            ("server:usb:1-1", "ready"),
            ("server:usb:1-2", "ready"),
        ]
        with pytest.raises(PhoneError, match="`mnas phones list` shows an address for each"):
            connect(Address("server", TWICE))


def test_two_phones_of_one_serial_without_a_port_are_told_by_their_transport(use: Use) -> None:
    with FakeServer([(TWICE, f"device transport_id:{n}") for n in (3, 4)], {"3": ID, "4": ID}) as server:
        use(server)
        assert [phone.target for phone in server_phones()] == ["transport_id:3", "transport_id:4"]
        connect(Address("server", "transport_id:3"))
        assert "host:transport-id:3" in server.requests


@pytest.mark.parametrize(
    ("line", "state", "remedy"),
    [
        ("recovery transport_id:1", "recovery", "Reboot system now"),
        ("rescue transport_id:1", "recovery", "Reboot system now"),
        ("sideload transport_id:2", "sideload", "adb reboot"),
        ("bootloader transport_id:3", "bootloader", "fastboot reboot"),
        ("unauthorized usb:1-1", "unauthorized", "accept the prompt"),
        ("authorizing transport_id:4", "unauthorized", "accept the prompt"),
        ("connecting transport_id:5", "offline", "adb reconnect offline"),
        ("offline transport_id:7", "offline", "adb reconnect offline"),
        (NO_PERMISSIONS, "no_permission", "udev rule"),
        ("host transport_id:8", "unreachable", "not a phone"),
        ("detached transport_id:9", "busy", "adb attach"),
        ("unheard-of transport_id:9", "unreachable", "'unheard-of'"),
    ],
)
def test_each_state_has_one_line_with_its_remedy(use: Use, line: str, state: str, remedy: str) -> None:
    with FakeServer([("SERIAL", line)]) as server:
        use(server)
        (found,) = discover(keys=[])
    assert found.state == state
    assert remedy in found.remedy
    assert "\n" not in found.remedy
    assert not any("transport" in request for request in server.requests)  # It is not connected to.


def test_connecting_to_a_phone_in_recovery_says_so(use: Use) -> None:
    with FakeServer([("SERIAL", "recovery transport_id:1")], {"SERIAL": "FAIL closed"}) as server:
        use(server)
        with pytest.raises(PhoneError, match="boot Android on it") as caught:
            connect(Address("server", "SERIAL"))
    assert caught.value.kind == "phone_mode"


def test_a_silent_server_hides_no_other_phone(
    use: Use, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cable = UsbDevice("1A2B", "Pixel", (1, 4), claimed=True, accessible=True)
    monkeypatch.setattr(discovery_module, "usb_devices", lambda: [cable])
    with FakeServer(silent=True) as server:
        use(server)
        (found,) = discover(keys=[], timeout_s=0.2)
    assert found.address == Address("usb", "1A2B")
    (line,) = caplog.messages
    assert f"127.0.0.1:{server.port}" in line
    assert "adb kill-server" in line


def test_a_silent_server_is_a_timeout_that_names_it(use: Use) -> None:
    with FakeServer(silent=True) as server:
        use(server)
        with pytest.raises(PhoneTimeoutError, match=f"127.0.0.1:{server.port}.*within 0.2 s"):
            server_devices(0.2)


def test_a_phone_that_does_not_answer_is_unreachable(use: Use) -> None:
    with FakeServer([("FROZEN", "device transport_id:1")], {"FROZEN": SILENT}) as server:
        use(server)
        (found,) = discover(keys=[], timeout_s=0.2)
    assert found.state == "unreachable"


def test_a_phone_that_is_reached_two_ways_is_shown_once(use: Use) -> None:
    lines = [("1A2B", "device usb:1-1 transport_id:1"), ("192.168.1.7:5555", "device transport_id:2")]
    with FakeServer(lines, {"1A2B": ID, "192.168.1.7:5555": ID}) as server:
        use(server)
        assert discover(keys=[]) == [
            Attached(Address("server", "1A2B"), "ready", "Pixel 7a", "", also=(Address("server", "192.168.1.7:5555"),))
        ]


@pytest.mark.parametrize("told", ["Pixel\n\n\n", "Pixel\n\nboot\n", "Pixel\nserial\n\n", ""])
def test_phones_that_do_not_say_who_they_are_stay_apart(use: Use, told: str) -> None:
    with FakeServer([("A", "device"), ("B", "device")], {"A": told, "B": told}) as server:
        use(server)
        assert [found.address.target for found in discover(keys=[])] == ["A", "B"]


def test_a_phone_on_usb_that_the_server_has_is_listed_by_the_server_only(
    use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, other = (UsbDevice("1A2B", None, (1, port), claimed=port == 4, accessible=False) for port in (4, 5))
    monkeypatch.setattr(discovery_module, "usb_devices", lambda: [ours, other])
    with FakeServer([("1A2B", "device usb:1-4 transport_id:1")], {"1A2B": ID}) as server:
        use(server)
        assert [str(found.address) for found in discover(keys=[])] == ["server:1A2B", "usb:1A2B"]


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, "127.0.0.1:5037"),
        ({"ANDROID_ADB_SERVER_PORT": "5038"}, "127.0.0.1:5038"),
        ({"ANDROID_ADB_SERVER_ADDRESS": "10.0.0.2"}, "10.0.0.2:5037"),
        ({"ANDROID_ADB_SERVER_ADDRESS": "::1", "ANDROID_ADB_SERVER_PORT": "1"}, "[::1]:1"),
        ({"ADB_SERVER_SOCKET": "tcp:172.17.0.1:5037"}, "172.17.0.1:5037"),
        ({"ADB_SERVER_SOCKET": "tcp:[fe80::1]:5040"}, "[fe80::1]:5040"),
        ({"ADB_SERVER_SOCKET": "tcp:5039"}, "127.0.0.1:5039"),
        ({"ADB_SERVER_SOCKET": "tcp:h:1", "ANDROID_ADB_SERVER_PORT": "2"}, "h:1"),
        ({"ADB_SERVER_SOCKET": "localfilesystem:/run/adb.sock"}, "/run/adb.sock"),
        ({"ADB_SERVER_SOCKET": "localabstract:adb"}, "@adb"),
    ],
)
def test_the_server_is_where_adbs_variables_say(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], place: str
) -> None:
    monkeypatch.delenv("ANDROID_ADB_SERVER_PORT", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(server_address()) == place


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANDROID_ADB_SERVER_PORT", "0"),
        ("ANDROID_ADB_SERVER_PORT", "port"),
        ("ADB_SERVER_SOCKET", "5037"),
        ("ADB_SERVER_SOCKET", "tcp:host:99999"),
        ("ADB_SERVER_SOCKET", "vsock:1:2"),
        ("ADB_SERVER_SOCKET", "localfilesystem:"),
    ],
)
def test_a_variable_that_names_no_server_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ToolError, match=name):
        server_address()


def test_a_server_on_a_unix_socket_is_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{tmp_path}/adb.sock")
    with FakeServer([("1A2B", "device")], path=f"{tmp_path}/adb.sock"):
        assert [device.serial for device in server_devices()] == ["1A2B"]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.lists(st.text(max_size=8), max_size=3))
def test_any_line_of_a_list_is_read(line: str, serials: list[str]) -> None:
    assert isinstance(parse_device(line, serials), ServerDevice)


@pytest.mark.parametrize("answer", [b"", b"OKAY", b"OKAY-001", b"OKAY 1f ", b"HTTP/1.1", b"OKAYffff", b"FAILffffx"])
def test_what_is_no_adb_server_is_a_typed_error(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connected, _ = listener.accept()
            with connected:
                connected.recv(100)
                connected.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(listener.getsockname()[1]))
        try:
            devices = server_devices(1)
        except LatencyError:
            return
    assert devices == []  # It hung up, as no server does.
