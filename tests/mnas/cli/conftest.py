"""What the commands change in their process, which here is that of the tests."""

import signal
from collections.abc import Iterator

import pytest

from mnas.signals import STOP_SIGNALS


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Give the signals their handlers back: a command that was stopped ignores them."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
