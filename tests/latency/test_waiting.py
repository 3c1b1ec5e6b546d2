from __future__ import annotations

import logging
import time

import pytest

from latency.waiting import said


def test_a_short_wait_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "latency")
    with said("connecting, at most 10 s", silence_s=0.02):
        pass
    time.sleep(0.05)
    assert not caplog.messages


def test_a_long_wait_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "latency")
    with said("connecting, at most 10 s", silence_s=0.01):
        time.sleep(0.1)
    assert caplog.messages == ["connecting, at most 10 s"]
