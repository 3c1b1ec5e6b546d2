"""Say what is waited for, once it has taken a while."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SILENCE_S = 2.0
"""What takes less is not worth a word."""

_LOG = logging.getLogger(__name__)


@contextmanager
def said(what: str, silence_s: float = SILENCE_S) -> Iterator[None]:
    """Log `what` if the block takes longer than `silence_s`; it names the wait and how long it lasts at most."""
    timer = threading.Timer(silence_s, _LOG.info, (what,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
