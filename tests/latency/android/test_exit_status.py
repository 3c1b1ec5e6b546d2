from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

import pytest

from latency.adb import ShellResult
from latency.android.exit_status import UNKNOWN, signal_of, signal_words
from tests.latency.android.local_device import local_device

SIGNALS = [signal.SIGHUP, signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV]


def toybox_0_8_0(number: int) -> int:
    return 127 + number


def toybox_0_8_1(number: int) -> int:
    return 137 if number == signal.SIGKILL else 124


def toybox_0_8_2(number: int) -> int:
    return 128 + number


def toybox_0_8_9(number: int) -> int:
    """The asking itself ends at once, so that its status is lost; what has run for a while is told."""
    return 127


def phone(status_of: Callable[[int], int]) -> Callable[[Sequence[str]], ShellResult]:
    return lambda argv: ShellResult("", "", status_of(signal.Signals[f"SIG{argv[-1]}"]))


@pytest.mark.parametrize("status_of", [toybox_0_8_0, toybox_0_8_2])
@pytest.mark.parametrize("number", SIGNALS)
def test_old_and_new_phones_tell_the_same_signal(status_of: Callable[[int], int], number: signal.Signals) -> None:
    assert signal_of(local_device(phone(status_of)), status_of(number)) == number


@pytest.mark.parametrize(("number", "told"), [(signal.SIGKILL, 9), (signal.SIGSEGV, UNKNOWN), (signal.SIGBUS, UNKNOWN)])
def test_a_phone_that_tells_only_the_kill_is_understood(number: signal.Signals, told: int) -> None:
    assert signal_of(local_device(phone(toybox_0_8_1)), toybox_0_8_1(number)) == told


def test_a_phone_that_loses_the_status_of_the_asking_is_taken_for_a_new_one() -> None:
    assert signal_of(local_device(phone(toybox_0_8_9)), 137) == signal.SIGKILL


@pytest.mark.parametrize("status", [0, 1, 126, 127])
def test_a_command_that_ended_by_itself_had_no_signal_and_the_phone_is_not_asked(status: int) -> None:
    def refuse(argv: Sequence[str]) -> ShellResult:
        raise AssertionError("asked")

    assert signal_of(local_device(refuse), status) is None


def test_a_status_that_means_a_signal_elsewhere_is_none_here() -> None:
    assert signal_of(local_device(phone(toybox_0_8_2)), 124) is None
    assert signal_of(local_device(phone(toybox_0_8_2)), 128) is None
    assert signal_of(local_device(phone(toybox_0_8_0)), 128) == signal.SIGHUP


def test_a_real_shell_is_asked() -> None:
    assert signal_of(local_device(), 139) == signal.SIGSEGV


@pytest.mark.parametrize(("number", "words"), [(11, "signal 11"), (UNKNOWN, "a signal")])
def test_a_signal_has_words(number: int, words: str) -> None:
    assert signal_words(number) == words


@pytest.mark.parametrize(
    ("status", "stderr", "failed"),
    [
        (0, "", False),
        (1, "", True),
        (127, "sh: x: not found", True),
        (127, "", False),
        (126, "", True),
        (137, "", True),
    ],
)
def test_a_status_that_toybox_loses_is_no_failure(status: int, stderr: str, failed: bool) -> None:
    assert ShellResult("", stderr, status).failed == failed
