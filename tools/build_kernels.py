"""Compile the kernels: `python -m tools.build_kernels [--check]`.

The library in `mnas/kernels/prebuilt/` is committed, so that nobody needs a compiler. This program builds it again, the
same to the byte on every machine: the compiler is one pinned version of PyPI's `ziglang`, which brings the headers and
libraries of its targets.
`--check` compares with `prebuilt/` and changes nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from latency.errors import ToolError
from mnas.errors import Error
from mnas.kernels.library import LIBRARY
from tools.c_compiler import check_compiler, compile_c

TARGET = ("-target", "x86_64-linux-gnu.2.17", "-mcpu=haswell")
"""haswell is AVX2 and FMA; glibc 2.17 is what MindSpore asks for."""

FLAGS = (
    # No -ffast-math: a NaN loss must stay NaN.
    *("-std=gnu11", "-O3", "-ffp-contract=fast", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"),
    # Nothing reads errno; and the copied rows are so short that a call of memcpy takes longer than the copy.
    *("-fno-math-errno", "-fno-builtin-memcpy"),
)
"""The same for every processor."""
_FORM = ("-shared", "-fPIC", "-fvisibility=hidden", "-s", "-Wl,--build-id=none", "-Wall", "-Wextra", "-Werror")


class BuildError(Error):
    """The kernels cannot be compiled."""


def build(target: Path) -> None:
    """Compile the library into `target`.

    Raises:
        BuildError: the compiler is missing, or the sources do not compile.
    """
    folder = LIBRARY.parents[1]
    sources = sorted(path.name for path in folder.glob("*.c"))
    try:
        check_compiler()
        compile_c([*TARGET, *FLAGS, *_FORM, *sources, "-lm", "-o", str(target)], folder)
    except ToolError as error:
        raise BuildError(error.message) from error


def main() -> int:
    """Build or check; return 1 if the library differs, 2 if it cannot be built."""
    parser = argparse.ArgumentParser(prog="python -m tools.build_kernels", description="Compile the kernels.")
    parser.add_argument("--check", action="store_true", help="compare with the committed library, change nothing")
    arguments = parser.parse_args()
    try:
        if not arguments.check:
            build(LIBRARY)
            return 0
        with tempfile.TemporaryDirectory() as folder:
            fresh = Path(folder) / LIBRARY.name
            build(fresh)
            same = fresh.read_bytes() == LIBRARY.read_bytes()
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2
    if not same:
        print(f"{LIBRARY.name} is not what the sources give; run without --check", file=sys.stderr)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
