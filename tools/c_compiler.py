"""The C compiler that our committed binaries are made with: one pinned version of PyPI's `ziglang`.

It brings the headers and libraries of all its targets, so what it makes is the same to the byte on every machine. Only
who changes the C sources needs it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from latency.errors import ToolError

ZIGLANG_VERSION = "0.15.2"


def check_compiler() -> None:
    """Raise ToolError (`compiler_missing`) unless the pinned compiler is installed."""
    try:
        version = metadata.version("ziglang")
    except metadata.PackageNotFoundError:
        version = "not installed"
    if version != ZIGLANG_VERSION:
        raise ToolError(
            "compiler_missing",
            f"our binaries are compiled by ziglang {ZIGLANG_VERSION}, and ziglang is {version}; "
            f"pip install ziglang=={ZIGLANG_VERSION}",
        )


def compile_c(arguments: Sequence[str], folder: Path) -> None:
    """Run the compiler in `folder`, where relative names keep paths of this machine out of what it makes.

    Raises ToolError (`build_failed`) with what it says.
    """
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", *arguments],
            cwd=folder,
            env={**os.environ, "SOURCE_DATE_EPOCH": "0", "ZIG_LOCAL_CACHE_DIR": cache},
            capture_output=True,
            text=True,
        )
    if done.returncode != 0:
        raise ToolError("build_failed", f"the sources in {folder} do not compile:\n{done.stderr}")
