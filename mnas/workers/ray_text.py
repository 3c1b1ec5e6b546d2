"""What Ray is told of the process that starts it."""

from __future__ import annotations

import os
import sys

from mnas.documents.user_paths import path_text
from mnas.errors import ConfigurationError


def check_ray_text() -> None:
    """Raise ConfigurationError if the command line or the working directory is no UTF-8: Ray sends both to its workers.

    Without this check `ray.init` fails after seconds, with a traceback of its own.
    """
    for what in (*sys.orig_argv, os.getcwd()):
        if path_text(what) != what:
            raise ConfigurationError(
                f"{what}: Ray takes UTF-8 text only, in the command line and as the working directory; rename it, or "
                "use a link to it"
            )
