"""Build the on-phone runner for every ABI: `python -m latency.runner.build [--check]`.

The binaries in `prebuilt/` are committed, so that nobody needs a compiler. This makes them anew, the same to the byte
on every machine: the compiler is one pinned version of PyPI's `ziglang`, which brings all headers and libraries of its
targets, and ONNX Runtime's C API header is one pinned file of Debian's pool, fetched into the cache. The header is not
replaced by declarations of our own: its table has some hundred functions, and the compiler should check every call.
`--check` compares with `prebuilt/` and changes nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from latency.downloads import DebianPackage, debian_packages, unpack_debian_package
from latency.errors import ToolError

ZIGLANG_VERSION = "0.15.2"
SOURCES = ("mnas_runner.c", "engine.c", "device.c", "report.c")
TARGETS = {"arm64-v8a": "aarch64-linux-gnu.2.28", "x86_64": "x86_64-linux-gnu.2.28"}
"""By ABI; glibc 2.28 is what ONNX Runtime's wheels ask for."""
HEADER_PACKAGE = DebianPackage(
    path="pool/main/o/onnxruntime/libonnxruntime-dev_1.21.0+dfsg-1_amd64.deb",
    sha256="14f7d959d5deacbcf1504830d4189f91fc67382b399ed9ae9d3aa9c4050ced08",
)
HEADER_FOLDER = Path("usr/include/onnxruntime")

_FOLDER = Path(__file__).parent
_FLAGS = ("-std=c11", "-Os", "-fPIE", "-pie", "-fno-asynchronous-unwind-tables", "-Wall", "-Wextra", "-Werror")
_LINK_FLAGS = ("-s", "-Wl,--build-id=none", "-ldl", "-lm")


def prebuilt(abi: str) -> Path:
    """The committed binary for an ABI."""
    return _FOLDER / "prebuilt" / abi / "mnas_runner"


def check_compiler() -> None:
    """Raise ToolError (`compiler_missing`) unless the pinned compiler is installed."""
    try:
        version = metadata.version("ziglang")
    except metadata.PackageNotFoundError:
        version = "not installed"
    if version != ZIGLANG_VERSION:
        raise ToolError(
            "compiler_missing",
            f"the runner is built with ziglang {ZIGLANG_VERSION}, and ziglang is {version}; "
            f"pip install ziglang=={ZIGLANG_VERSION}",
        )


def build(folder: Path) -> dict[str, Path]:
    """Build into `folder`; returns the binary of each ABI.

    Raises ToolError (`compiler_missing`, `build_failed`, or `runtime_unavailable` when the header cannot be had).
    """
    check_compiler()
    [header_package] = debian_packages([HEADER_PACKAGE])
    binaries = {}
    with tempfile.TemporaryDirectory() as temporary:
        # Everything under one relative name, so that no path of this machine gets into a binary.
        for source in _FOLDER.glob("*.[ch]"):
            shutil.copy(source, temporary)
        unpack_debian_package(header_package, Path(temporary) / "header")
        for abi, target in TARGETS.items():
            include = f"-isystemheader/{HEADER_FOLDER}"
            command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *_FLAGS, include, *SOURCES]
            built = subprocess.run(
                [*command, "-o", "mnas_runner", *_LINK_FLAGS],
                cwd=temporary,
                env={**os.environ, "SOURCE_DATE_EPOCH": "0", "ZIG_LOCAL_CACHE_DIR": f"{temporary}/cache"},
                capture_output=True,
                text=True,
            )
            if built.returncode != 0:
                raise ToolError("build_failed", f"the runner for {abi} does not compile:\n{built.stderr}")
            binaries[abi] = folder / abi / "mnas_runner"
            binaries[abi].parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(temporary) / "mnas_runner", binaries[abi])
    return binaries


def differing(binaries: dict[str, Path]) -> list[str]:
    """The ABIs whose binary is not, byte for byte, the committed one."""
    return [
        abi
        for abi, binary in binaries.items()
        if not prebuilt(abi).is_file() or prebuilt(abi).read_bytes() != binary.read_bytes()
    ]


def main() -> int:
    """Build, or check; the exit status is 1 when a binary differs, 2 when it cannot be built."""
    parser = argparse.ArgumentParser(prog="python -m latency.runner.build", description="Build the on-phone runner.")
    parser.add_argument("--check", action="store_true", help="compare with the committed binaries, change nothing")
    arguments = parser.parse_args()
    try:
        if not arguments.check:
            build(_FOLDER / "prebuilt")
            return 0
        with tempfile.TemporaryDirectory() as folder:
            different = differing(build(Path(folder)))
    except ToolError as error:
        print(error, file=sys.stderr)
        return 2
    for abi in different:
        print(f"{abi}: the committed binary is not what the sources give; run without --check", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
