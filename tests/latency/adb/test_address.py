from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.adb import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp:192.168.1.7:4444", Address("tcp", "192.168.1.7:4444")),
        ("tcp:phone.local", Address("tcp", "phone.local:5555")),
        ("tcp:[fe80::1%wlan0]", Address("tcp", "[fe80::1%wlan0]:5555")),
        ("tcp:[::1]:80", Address("tcp", "[::1]:80")),
        ("usb:0123ABC", Address("usb", "0123ABC")),
        ("server:192.168.1.7:5555", Address("server", "192.168.1.7:5555")),
        ("server:adb-1A (2)._adb-tls-connect._tcp", Address("server", "adb-1A (2)._adb-tls-connect._tcp")),
        ("server:usb:1-4.2", Address("server", "usb:1-4.2")),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("192.168.1.7:5555", "must have one of the forms"),
        ("bluetooth:x", "must have one of the forms"),
        ("tcp:", "names no host"),
        ("tcp::5555", "names no host"),
        ("tcp:host:0", "from 1 to 65535"),
        ("tcp:host:65536", "from 1 to 65535"),
        ("tcp:host:", "from 1 to 65535"),
        ("tcp:host:٣", "from 1 to 65535"),
        ("tcp:fe80::1", "must be in brackets"),
        ("tcp:[::1]5555", r"tcp:\[IPV6\]:PORT"),
        ("usb:", "needs a serial number"),
        ("server: leading", "needs a serial number"),
        ("server:two\nlines", "needs a serial number"),
    ],
)
def test_a_wrong_address_is_refused_with_the_rule(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as caught:
        Address.parse(text)
    assert repr(text) in str(caught.value)


@given(st.from_regex(r"[a-z][a-z0-9.-]{0,20}|[0-9a-f:]{2,10}:[0-9a-f]", fullmatch=True), st.integers(1, 65535))
def test_text_and_address_are_the_same(host: str, port: int) -> None:
    text = f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"
    address = Address.parse(text)
    assert str(address) == text
    assert address.host_and_port == (host, port)


def test_only_tcp_has_a_port() -> None:
    with pytest.raises(ValueError, match="usb:X has no port"):
        Address("usb", "X").host_and_port  # noqa: B018  # Reading it raises.
