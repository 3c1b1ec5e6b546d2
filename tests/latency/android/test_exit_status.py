from __future__ import annotations

import signal
from collections.abc import Sequence

import pytest

from latency.adb import ShellResult
from latency.android.exit_status import signal_of
from tests.latency.android.local_device import local_device

SIGNALS = [signal.SIGHUP, signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV]


@pytest.mark.parametrize("offset", [127, 128])
@pytest.mark.parametrize("number", SIGNALS)
def test_old_and_new_phones_tell_the_same_signal(offset: int, number: signal.Signals) -> None:
    device = local_device(lambda argv: ShellResult("", "", offset + signal.SIGKILL))
    assert signal_of(device, offset + number) == number


@pytest.mark.parametrize("status", [0, 1, 126, 127])
def test_a_command_that_ended_by_itself_had_no_signal_and_the_phone_is_not_asked(status: int) -> None:
    def refuse(argv: Sequence[str]) -> ShellResult:
        raise AssertionError("asked")

    assert signal_of(local_device(refuse), status) is None


def test_status_128_is_a_hangup_on_old_phones_only() -> None:
    assert signal_of(local_device(lambda argv: ShellResult("", "", 136)), 128) == signal.SIGHUP
    assert signal_of(local_device(lambda argv: ShellResult("", "", 137)), 128) is None


def test_a_real_shell_is_asked() -> None:
    assert signal_of(local_device(), 139) == signal.SIGSEGV
