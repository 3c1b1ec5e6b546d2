"""The folders of a user's caches, phone profiles and leases."""

from __future__ import annotations

import os
from pathlib import Path

from mnas.documents.errors import InputError
from mnas.documents.user_paths import user_path


def home_folder() -> Path:
    """Return the home folder of this user.

    Raises:
        InputError: It is not known.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise InputError("the home folder is not known; set HOME") from error


def cache_folder() -> Path:
    """Return the folder of this user's caches.

    It is `mnas` under XDG_CACHE_HOME, `~/.cache` by default.
    """
    return _base_folder("XDG_CACHE_HOME", ".cache") / "mnas"


def profile_folder() -> Path:
    """Return the folder of this user's phone profiles.

    It is $MNAS_PHONES, or `mnas/phones` under XDG_CONFIG_HOME, `~/.config` by default.
    """
    if chosen := os.environ.get("MNAS_PHONES"):
        return user_path(chosen)
    return _base_folder("XDG_CONFIG_HOME", ".config") / "mnas" / "phones"


def state_folder() -> Path:
    """Return the folder of this user's leases.

    It is `mnas` under XDG_STATE_HOME, `~/.local/state` by default.
    """
    return _base_folder("XDG_STATE_HOME", ".local", "state") / "mnas"


def _base_folder(variable: str, *default: str) -> Path:
    return user_path(chosen) if (chosen := os.environ.get(variable)) else home_folder().joinpath(*default)
