"""Times for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a time as minutes:seconds, or hours:minutes:seconds.

    >>> duration(75.2), duration(3675)
    ('1:15', '1:01:15')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
