"""Where a user's caches, phone profiles and leases are."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return where this user's caches are: `mnas` under XDG_CACHE_HOME, `~/.cache` by default."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnas"


def profile_folder() -> Path:
    """Return where this user's profiles are: $MNAS_PHONES, or `mnas/phones` in the user's configuration folder."""
    if chosen := os.environ.get("MNAS_PHONES"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "mnas" / "phones"


def state_folder() -> Path:
    """Return where this user's leases are: `mnas` under XDG_STATE_HOME, `~/.local/state` by default."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "mnas"
