"""The folders of a user's caches, phone profiles and leases."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of this user's caches.

    It is `mnas` under XDG_CACHE_HOME, `~/.cache` by default.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnas"


def profile_folder() -> Path:
    """Return the folder of this user's phone profiles.

    It is $MNAS_PHONES, or `mnas/phones` under XDG_CONFIG_HOME, `~/.config` by default.
    """
    if chosen := os.environ.get("MNAS_PHONES"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "mnas" / "phones"


def state_folder() -> Path:
    """Return the folder of this user's leases.

    It is `mnas` under XDG_STATE_HOME, `~/.local/state` by default.
    """
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "mnas"
