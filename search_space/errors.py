"""The error of this package."""

from __future__ import annotations

from mnas.documents.errors import InputError


class SpaceError(InputError, ValueError):
    """A search space, architecture or block string breaks a rule; the message says which and how to fix it."""
