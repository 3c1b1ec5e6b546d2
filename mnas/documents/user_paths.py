"""Paths that users write: on the command line, in YAML files and in environment variables."""

from __future__ import annotations

import os
from pathlib import Path


def path_text(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that a document can hold: what is no UTF-8 in its name is written as an escape.

    >>> print(path_text("runs/caf\udce9"))
    runs/caf\udce9
    """
    return os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` and `~USER` at its start replaced by that user's home folder, as shells do.

    A home folder that is not known leaves the path as it is; nothing is found there, and the message names it as it was
    written.

    >>> user_path("data/~").as_posix(), user_path("~no-such-user/data").as_posix()
    ('data/~', '~no-such-user/data')
    """
    return Path(os.path.expanduser(path))
