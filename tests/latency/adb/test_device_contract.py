"""What every connected phone must do, against a real adbd. A new way to a phone joins in way.py and conftest.py."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency.adb import AdbDevice, ShellResult
from latency.errors import LatencyError, PhoneError
from tests.latency.adb.way import Way

BIG = random.Random(0).randbytes(8_000_000)


@pytest.fixture(scope="module")
def device(steady_way: Way) -> Iterator[AdbDevice]:
    with steady_way.connect() as device:
        yield device


@pytest.fixture
def remote(steady_way: Way, request: pytest.FixtureRequest) -> str:
    return f"{steady_way.folder}/{request.node.originalname}"


def error_of(call: Callable[[], object]) -> PhoneError:
    with pytest.raises(PhoneError) as caught:
        call()
    return caught.value


def test_output_error_output_and_status_come_apart(device: AdbDevice) -> None:
    result = device.shell(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_s=20)
    assert result == ShellResult("out\n", "err\n", 3)


def test_a_command_that_is_not_there_is_a_result(device: AdbDevice) -> None:
    result = device.shell(["/no-such-command"], timeout_s=20)
    assert result.status == 127
    assert "no-such-command" in result.stderr


def test_standard_input_is_empty(device: AdbDevice) -> None:
    assert device.shell(["cat"], timeout_s=20) == ShellResult("", "", 0)


def test_large_output_is_complete(device: AdbDevice) -> None:
    result = device.shell(["seq", "750000"], timeout_s=60)
    assert result.stdout == "".join(f"{number}\n" for number in range(1, 750_001))


def test_output_that_is_not_text_is_escaped(device: AdbDevice) -> None:
    assert device.shell(["printf", r"a\377b\r\n"], timeout_s=20).stdout == "a\\xffb\r\n"


# Every character but NUL, which no argument can hold, and surrogates, which are none.
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
@settings(max_examples=40, deadline=None)
def test_every_argument_arrives_as_it_is(device: AdbDevice, arguments: list[str]) -> None:
    script = 'for argument; do printf "%s\\0" "$argument"; done'
    printed = device.shell(["sh", "-c", script, "mnas", *arguments], timeout_s=20).stdout
    assert printed == "".join(argument + "\0" for argument in arguments)


@pytest.mark.parametrize("argv", [[], ["echo", "a\0b"], ["echo", "x" * 70_000]], ids=["none", "NUL", "too long"])
def test_a_command_that_cannot_be_sent_is_refused_and_harms_nothing(device: AdbDevice, argv: list[str]) -> None:
    with pytest.raises(ValueError, match="command"):
        device.shell(argv, timeout_s=20)
    assert device.shell(["true"], timeout_s=20).status == 0


@given(st.sampled_from([0, 1, 65_535, 65_536, 65_537, 1_048_576, 2_500_001]) | st.integers(0, 200_000))
@settings(max_examples=20, deadline=None)
def test_a_file_comes_back_as_it_was_sent(steady_way: Way, device: AdbDevice, size: int) -> None:
    content = random.Random(size).randbytes(size)
    path = f"{steady_way.folder}/round trip's folder/file"
    device.push(content, path, timeout_s=60)
    assert device.pull(path, timeout_s=60) == content


def test_a_local_file_is_pushed_over_an_old_one(device: AdbDevice, remote: str, tmp_path: Path) -> None:
    device.push(b"an older, longer file", remote, timeout_s=20)
    (tmp_path / "new").write_bytes(b"new")
    device.push(tmp_path / "new", remote, timeout_s=20)
    assert Path(remote).read_bytes() == b"new"


def test_an_executable_can_be_run(device: AdbDevice, remote: str) -> None:
    device.push(b"#!/bin/sh\necho it runs\n", remote, executable=True, timeout_s=20)
    assert device.shell([remote], timeout_s=20).stdout == "it runs\n"


def test_other_files_cannot_be_run(device: AdbDevice, remote: str) -> None:
    device.push(b"#!/bin/sh\necho it runs\n", remote, timeout_s=20)
    assert device.shell([remote], timeout_s=20).status == 126


def test_a_missing_file_cannot_be_pulled(way: Way) -> None:
    error = error_of(lambda: way.connect().pull(f"{way.folder}/missing", timeout_s=20))
    assert error.kind == "phone_file"
    assert f"{way.folder}/missing" in str(error)


def test_a_file_cannot_be_pushed_where_a_file_is_the_folder(way: Way) -> None:
    (way.folder / "file").touch()
    error = error_of(lambda: way.connect().push(b"x", f"{way.folder}/file/below", timeout_s=20))
    assert error.kind == "phone_file"


def test_after_an_error_the_device_is_closed_and_says_why(way: Way) -> None:
    device = way.connect()
    first = error_of(lambda: device.pull("/missing", timeout_s=20))
    assert device.closed
    second = error_of(lambda: device.shell(["true"], timeout_s=20))
    assert second.kind == "phone_gone"
    assert str(first) in str(second)


def test_a_command_that_takes_too_long_is_a_timeout_and_ends_on_the_phone(way: Way) -> None:
    device = way.connect()
    started = time.monotonic()
    assert error_of(lambda: device.shell(["sleep", "86423"], timeout_s=0.5)).kind == "timeout"
    assert time.monotonic() - started < 20  # Not a timing: the command would take a day.
    while any(
        "86423" in process.info["cmdline"] for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"]
    ):
        assert time.monotonic() - started < 60, "the command still runs on the phone"
        time.sleep(0.1)


def test_a_frozen_daemon_is_a_timeout(way: Way) -> None:
    device = way.connect()
    way.adbd.freeze()
    assert error_of(lambda: device.shell(["true"], timeout_s=0.5)).kind == "timeout"


def test_a_daemon_that_freezes_in_the_middle_of_a_push_is_a_timeout(way: Way) -> None:
    device = way.connect_through_proxy()
    way.proxy.after(2_000_000, way.adbd.freeze)
    assert error_of(lambda: device.push(BIG, f"{way.folder}/file", timeout_s=2)).kind == "timeout"


def test_a_network_that_goes_silent_in_the_middle_of_a_push_is_a_timeout(way: Way) -> None:
    device = way.connect_through_proxy()
    way.proxy.after(2_000_000, way.proxy.stall)
    assert error_of(lambda: device.push(BIG, f"{way.folder}/file", timeout_s=2)).kind == "timeout"


def test_a_daemon_killed_between_calls_is_gone(way: Way) -> None:
    device = way.connect()
    way.adbd.kill()
    assert error_of(lambda: device.shell(["true"], timeout_s=60)).kind in {"phone_gone", "phone_offline"}


def test_a_daemon_killed_while_a_command_runs_is_gone_at_once(way: Way) -> None:
    device = way.connect()
    timer = threading.Timer(0.3, way.adbd.kill)
    timer.start()
    try:
        assert error_of(lambda: device.shell(["sleep", "60"], timeout_s=60)).kind == "phone_gone"
    finally:
        timer.join()


def test_a_daemon_killed_in_the_middle_of_a_push_is_gone_and_the_old_file_stays(way: Way) -> None:
    (way.folder / "file").write_bytes(b"old")
    device = way.connect_through_proxy()
    way.proxy.after(2_000_000, way.adbd.kill)
    assert error_of(lambda: device.push(BIG, f"{way.folder}/file", timeout_s=60)).kind == "phone_gone"
    assert (way.folder / "file").read_bytes() == b"old"


def test_a_connection_cut_in_the_middle_of_a_push_is_gone(way: Way) -> None:
    device = way.connect_through_proxy()
    way.proxy.after(2_000_000, way.proxy.cut)
    assert error_of(lambda: device.push(BIG, f"{way.folder}/file", timeout_s=60)).kind == "phone_gone"


def test_a_restarted_daemon_can_be_connected_to_again(way: Way) -> None:
    device = way.connect()
    way.adbd.kill()
    error_of(lambda: device.shell(["true"], timeout_s=60))
    way.adbd.restart()
    deadline = time.monotonic() + 60
    while True:  # An adb server takes a moment to see that the old connection is dead.
        try:
            assert way.connect().shell(["echo", "back"], timeout_s=20).stdout == "back\n"
            return
        except (LatencyError, RuntimeError):
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.fixture
def small_folder(way: Way) -> Iterator[Path]:
    """A folder of the phone with room for 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = way.folder / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_file_too_large_for_the_phone_is_refused_with_the_numbers(way: Way, small_folder: Path) -> None:
    error = error_of(lambda: way.connect().push(BIG, f"{small_folder}/file", timeout_s=20))
    assert error.kind == "phone_full"
    assert "8000000" in str(error)
    assert str(4 << 20) in str(error)


def test_a_phone_that_fills_up_in_the_middle_of_a_push_is_full_and_keeps_nothing(
    way: Way, small_folder: Path, tmp_path: Path
) -> None:
    endless = tmp_path / "pipe"  # Its size is 0 beforehand, so that the check lets it pass.
    os.mkfifo(endless)

    def write() -> None:
        with suppress(BrokenPipeError):  # The push gives up in the middle.
            endless.write_bytes(BIG)

    writer = threading.Thread(target=write)
    writer.start()
    error = error_of(lambda: way.connect().push(endless, f"{small_folder}/file", timeout_s=60))
    writer.join()
    assert error.kind == "phone_full"
    assert list(small_folder.iterdir()) == []
