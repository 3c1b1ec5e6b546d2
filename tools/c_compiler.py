"""The C compiler of the committed binaries: one pinned version of PyPI's `ziglang`.

It brings the headers and libraries of all its targets, so its output is the same to the byte on every machine. You need
it only to change the C sources.
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
    """Check that the pinned compiler is installed.

    Raises:
        ToolError: `compiler_missing`.
    """
    try:
        version = metadata.version("ziglang")
    except metadata.PackageNotFoundError:
        version = "not installed"
    if version != ZIGLANG_VERSION:
        raise ToolError(
            "compiler_missing",
            f"the committed binaries are compiled by ziglang {ZIGLANG_VERSION}, and ziglang is {version}; "
            f"pip install ziglang=={ZIGLANG_VERSION}",
        )


def compile_c(arguments: Sequence[str], folder: Path) -> None:
    """Run the compiler in `folder`.

    Relative names in `arguments` keep the paths of this machine out of the output.

    Raises:
        ToolError: `build_failed`, with the compiler's messages.
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
