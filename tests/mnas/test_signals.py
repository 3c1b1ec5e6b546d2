"""Signals of this very process, which are handled as the tests arrange."""

import os
import signal
from collections.abc import Iterator

import pytest

from mnas.cli import interrupt
from mnas.cli.errors import explained
from mnas.cli.interrupt import stop_cleanly
from mnas.signals import STOP_SIGNALS, Stopped, signals_held_back


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Handle each signal as a shell's command in the foreground does, whatever the tests were started with."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_each_signal_stops_a_command_with_its_exit_code(number: signal.Signals) -> None:
    def run() -> int:
        stop_cleanly()
        signal.raise_signal(number)
        return 0

    assert explained(run) == 128 + number


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_further_signals_do_not_disturb_the_closing(number: signal.Signals) -> None:
    stop_cleanly()
    with pytest.raises(Stopped):
        signal.raise_signal(number)
    for _ in range(5):
        signal.raise_signal(number)


def test_a_third_signal_ends_a_closing_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(interrupt, "CLOSING_PATIENCE_S", 0.0)
    stop_cleanly()
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert ended == []
    signal.raise_signal(signal.SIGINT)
    assert ended == [130]


def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_cleanly()
    signal.raise_signal(signal.SIGHUP)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_after_the_end_of_a_stopped_command_signals_are_ignored(number: signal.Signals) -> None:
    def run() -> int:
        raise KeyboardInterrupt

    assert explained(run) == 130
    signal.raise_signal(number)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_that_is_held_back_comes_once_at_the_end(number: signal.Signals) -> None:
    done: list[int] = []

    def step() -> None:
        with signals_held_back():
            for _ in range(3):
                signal.raise_signal(number)
            done.append(number)

    stop_cleanly()
    with pytest.raises(Stopped):
        step()
    assert done == [number]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_handler_that_is_replaced_meanwhile_is_back_at_the_end(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with signals_held_back():
        signal.signal(number, signal.SIG_IGN)
    assert signal.getsignal(number) is before


def test_a_handler_that_is_replaced_can_be_installed_again() -> None:
    def step() -> None:
        with signals_held_back() as held:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does at its end
            held.hold()
            signal.raise_signal(signal.SIGTERM)

    stop_cleanly()
    with pytest.raises(Stopped):
        step()
