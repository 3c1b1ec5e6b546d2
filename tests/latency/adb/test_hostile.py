"""A hostile or broken phone: a typed error that names it, in bounded memory and time, never a traceback."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency.adb import ShellResult, shell, sync
from latency.adb.device import AdbDevice
from latency.adb.greeting import greet
from latency.adb.keys import load_keys
from latency.errors import LatencyError, PhoneError, PhoneTimeoutError, ToolError
from tests.latency.adb.fake_transport import SHELL, FakeTransport, device_that_sends, packet

MIB = 1 << 20
OPENED = packet(b"OKAY", 7, 1)
EXIT = packet(b"WRTE", 7, 1, SHELL.pack(3, 1) + b"\0")


def said(text: bytes) -> bytes:
    return packet(b"WRTE", 7, 1, SHELL.pack(1, len(text)) + text)


def forever(data: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.repeat(data)


def error_of(device: AdbDevice, timeout_s: float = 2.0) -> LatencyError:
    with pytest.raises(LatencyError) as caught:
        device.shell(["true"], timeout_s=timeout_s)
    return caught.value


def error_or_name(call: Callable[[], object]) -> str:
    """The text of its LatencyError, or the phone's name if there is none."""
    try:
        call()
    except LatencyError as error:
        return str(error)
    return "usb:1A2B"


def test_an_honest_phone_answers() -> None:
    assert device_that_sends(OPENED, OPENED, said(b"hello\n"), EXIT).shell(["true"], 2).stdout == "hello\n"


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (packet(b"OKAY", 7, 1, size=1 << 31), "announces a packet of 2147483648 bytes"),
        (packet(b"OKAY", 7, 1, magic=0), "not an adb packet"),
        (packet(b"NOPE", 7, 1), "b'NOPE', which belongs to no stream"),
        (packet(b"CNXN", 7, 1), "belongs to no stream"),
        (packet(b"OPEN", 7, 1), "belongs to no stream"),
        (packet(b"OKAY", 7, 2), "for the stream 2, which was never opened"),
        (packet(b"OKAY", 7, 0), "never opened"),
        (packet(b"OKAY", 0, 1), "from its stream 0, which is not the one"),
        (packet(b"WRTE", 7, 1, b"x"), "sent WRTE from its stream 7"),
        (OPENED + packet(b"WRTE", 7, 1, b"abc", checksum=1), "damaged"),
        (OPENED + packet(b"OKAY", 8, 1), "from its stream 8"),
        (OPENED + OPENED + packet(b"WRTE", 7, 1, SHELL.pack(1, 0xFFFFFFFF)), "packet 1 of 4294967295 bytes"),
        (OPENED + OPENED + packet(b"WRTE", 7, 1, SHELL.pack(9, 1) + b"x"), "packet 9 of 1 bytes"),
        (OPENED + OPENED + packet(b"WRTE", 7, 1, SHELL.pack(3, 500)), "packet 3 of 500 bytes"),
    ],
)
def test_a_wrong_packet_is_refused_by_its_header(sent: bytes, words: str) -> None:
    error = error_of(device_that_sends(sent))
    assert (type(error), error.kind) == (ToolError, "adb_protocol")
    assert "usb:1A2B" in str(error)
    assert words in str(error)


FLOODS = {
    "a shell packet of 4 GiB": (OPENED + packet(b"WRTE", 7, 1, SHELL.pack(1, 1 << 32 - 1)), b"A" * MIB),
    "output without confirming": (OPENED, b"A" * MIB),
    "endless output": (OPENED + OPENED, SHELL.pack(1, MIB - 5) + b"A" * (MIB - 5)),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_ended_in_bounded_memory(name: str) -> None:
    start, payload = FLOODS[name]
    device = device_that_sends(start, then=forever(packet(b"WRTE", 7, 1, payload)))
    tracemalloc.start()
    try:
        error = error_of(device, timeout_s=20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.kind == "adb_protocol"
    assert peak < 4 * shell.MAX_OUTPUT_BYTES


@pytest.mark.parametrize("sent", [packet(b"CLSE", 9, 1), said(b"")], ids=["the tail of an old stream", "nothings"])
def test_endless_packets_that_say_nothing_end_at_the_deadline(sent: bytes) -> None:
    device = device_that_sends(OPENED, OPENED, said(b""), EXIT, packet(b"OKAY", 8, 2), then=forever(sent))
    device.shell(["true"], timeout_s=2)
    assert error_of(device, timeout_s=0.2).kind == "timeout"


def test_a_file_without_end_is_refused() -> None:
    chunk = sync._PACKET.pack(b"DATA", 1 << 16) + b"A" * (1 << 16)
    device = device_that_sends(OPENED, OPENED, then=forever(packet(b"WRTE", 7, 1, chunk)))
    with pytest.raises(PhoneError, match="more than 67108864 bytes"):
        device.pull("/file", timeout_s=60)


def test_a_piece_of_a_file_that_no_adbd_sends_is_refused() -> None:
    device = device_that_sends(OPENED, OPENED, packet(b"WRTE", 7, 1, sync._PACKET.pack(b"DATA", 1 << 31)))
    with pytest.raises(ToolError, match="2147483648 bytes"):
        device.pull("/file", timeout_s=2)


def test_the_last_words_of_a_command_are_short() -> None:
    result = ShellResult("out\n", f" {'x' * 10_000} end\n", 1)
    assert (len(result.last_words), result.last_words[-4:]) == (500, " end")
    assert ShellResult("out\n", " \n", 1).last_words == "out"


words = st.sampled_from([b"OKAY", b"WRTE", b"CLSE", b"OPEN", b"CNXN", b"AUTH", b"SYNC", b"STLS", b"\0\0\0\0"])
ids = st.sampled_from([0, 1, 2, 7, 0xFFFFFFFF])
shell_payloads = st.builds(
    lambda kind, size, text: SHELL.pack(kind, size) + text,
    st.integers(0, 5),
    st.sampled_from([0, 1, 2, 5, 1 << 20, (1 << 32) - 1]),
    st.binary(max_size=8),
)
packets = st.builds(packet, words, ids, ids, st.binary(max_size=8) | shell_payloads)


@given(st.lists(packets | st.binary(max_size=40) | st.just(OPENED) | st.just(EXIT), max_size=12))
@settings(max_examples=150, deadline=None)
def test_whatever_a_phone_sends_ends_in_a_result_or_a_typed_error_that_names_it(sent: list[bytes]) -> None:
    device = device_that_sends(OPENED, *sent)
    assert "usb:1A2B" in error_or_name(lambda: device.shell(["true"], timeout_s=2))


sync_packets = st.builds(
    lambda kind, size, text: sync._PACKET.pack(kind, size) + text,
    st.sampled_from([b"DATA", b"DONE", b"OKAY", b"FAIL", b"QUIT", b"\0\0\0\0"]),
    st.sampled_from([0, 1, 8, 1 << 16, (1 << 32) - 1]),
    st.binary(max_size=8),
)
pieces = st.lists(sync_packets | st.binary(max_size=12), max_size=6).map(b"".join)


@given(pieces, st.booleans())
@settings(max_examples=80, deadline=None)
def test_whatever_a_phone_says_of_a_file_ends_in_a_result_or_a_typed_error_that_names_it(
    sent: bytes, pull: bool
) -> None:
    opened = [packet(b"OKAY", 7, number) for number in (1, 1)]
    if pull:
        device = device_that_sends(*opened, packet(b"WRTE", 7, 1, sent), packet(b"CLSE", 7, 1))
        assert "usb:1A2B" in error_or_name(lambda: device.pull("/file", timeout_s=2))
        return
    free = packet(b"WRTE", 7, 1, SHELL.pack(1, 9) + b"1000 4096" + SHELL.pack(3, 1) + b"\0")
    again = [packet(b"OKAY", 8, 2), packet(b"OKAY", 8, 2), packet(b"WRTE", 8, 2, sent), packet(b"CLSE", 8, 2)]
    device = device_that_sends(*opened, free, *again)
    assert "usb:1A2B" in error_or_name(lambda: device.push(b"x", "/file", timeout_s=2))


@pytest.mark.parametrize("text", [b"", b"many", b"1 x", b"1 2 3", b"9" * 5000 + b" 1", "² 1".encode()])
def test_a_free_space_that_is_no_number_is_named(text: bytes) -> None:
    device = device_that_sends(OPENED, OPENED, said(text), EXIT)
    with pytest.raises(PhoneError, match="usb:1A2B: push /file: ") as caught:
        device.push(b"x", "/file", timeout_s=2)
    assert caught.value.kind == "phone_file"
    assert len(str(caught.value)) < 1000


def greeting_of(
    sent: bytes, *, then: Callable[[], Iterator[bytes]] = lambda: iter(()), timeout_s: float = 2
) -> FakeTransport:
    transport = FakeTransport(itertools.chain([sent], then()))
    greet(
        transport,
        "usb:1A2B",
        keys=[],
        on_prompt=lambda: None,
        timeout_s=timeout_s,
        authorize_timeout_s=timeout_s,
    )
    return transport


CNXN = packet(b"CNXN", 0x01000001, 1 << 20, b"device::features=shell_v2\0")


def test_an_honest_greeting_is_understood() -> None:
    assert greeting_of(CNXN).written[0].startswith(b"CNXN")


def test_a_greeting_of_4_gib_is_refused_before_it_is_read() -> None:
    transport = FakeTransport(iter([packet(b"CNXN", 1, 1 << 20, size=(1 << 32) - 1)]))
    with pytest.raises(ToolError, match="more than a greeting's 1048576 bytes") as caught:
        greet(transport, "usb:1A2B", keys=[], on_prompt=lambda: None, timeout_s=2, authorize_timeout_s=2)
    assert "usb:1A2B" in str(caught.value)
    assert (transport.asked, transport.closed) == (24, True)


@pytest.mark.parametrize(
    "sent",
    [
        packet(b"WRTE", 1, 1, b"x" * 1000),
        b"\0",
        packet(b"CNXN", 1, 1, b"x", checksum=9),
        random.Random(0).randbytes(64),
    ],
)
def test_a_greeting_without_end_is_ended(sent: bytes) -> None:
    with pytest.raises(LatencyError) as caught:
        greeting_of(b"", then=forever(sent), timeout_s=0.3)
    assert caught.value.kind in ("adb_protocol", "timeout")
    assert "usb:1A2B" in str(caught.value)


class Slow(FakeTransport):
    """Never silent for long, never done."""

    def bulk_read(self, numbytes: int, transport_timeout_s: float) -> bytes:
        if transport_timeout_s < 0.02:
            raise PhoneTimeoutError("no answer in time")
        return super().bulk_read(1, transport_timeout_s)


def test_a_phone_that_greets_byte_by_byte_has_the_time_of_one_greeting() -> None:
    slow = Slow(itertools.repeat(b"\0"))
    with pytest.raises(LatencyError) as caught:
        greet(slow, "usb:1A2B", keys=[], on_prompt=lambda: None, timeout_s=0.2, authorize_timeout_s=60)
    assert caught.value.kind in ("timeout", "adb_protocol")


@pytest.mark.parametrize("token", [b"", b"x" * 19, b"x" * 4000])
def test_a_token_that_no_key_can_sign_is_refused(
    token: bytes, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    transport = FakeTransport(itertools.repeat(packet(b"AUTH", 1, 0, token)))
    with pytest.raises(ToolError, match="usb:1A2B: the greeting went wrong"):
        greet(transport, "usb:1A2B", keys=load_keys(), on_prompt=lambda: None, timeout_s=2, authorize_timeout_s=2)


def test_a_phone_that_asks_for_a_key_again_and_again_is_unauthorized(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    transport = FakeTransport(itertools.repeat(packet(b"AUTH", 1, 0, b"x" * 20)))
    with pytest.raises(PhoneError, match="was not accepted within") as caught:
        greet(transport, "usb:1A2B", keys=load_keys(), on_prompt=lambda: None, timeout_s=2, authorize_timeout_s=0.1)
    assert caught.value.kind == "phone_unauthorized"


@given(st.lists(packets | st.just(CNXN) | st.binary(max_size=40), max_size=6))
@settings(max_examples=80, deadline=None)
def test_whatever_greets_is_understood_or_a_typed_error_that_names_it(sent: list[bytes]) -> None:
    assert "usb:1A2B" in error_or_name(lambda: greeting_of(b"".join(sent)))
