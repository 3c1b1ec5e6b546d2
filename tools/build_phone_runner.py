"""Build the on-phone runner for every ABI: `python -m tools.build_phone_runner [--check]`.

The binaries in `latency/runner/prebuilt/` are committed, so that nobody needs a compiler. This program builds them
again, the same to the byte on every machine: the compiler is one pinned version of PyPI's `ziglang`, which brings all
headers and libraries of its targets, and ONNX Runtime's C API header is one pinned file of Debian's pool, fetched into
the cache. The header is not replaced by declarations of our own: its table has some hundred functions, and the compiler
should check every call.
`--check` compares with `prebuilt/` and changes nothing.

Each ABI has two variants: `mnas_runner` runs on the C library that comes with the runtime bundle, `mnas_runner_bionic`
on Android's own, for ONNX Runtime's Android build.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from latency.downloads import DebianPackage, debian_packages, unpack_debian_package
from latency.errors import ToolError
from tools.c_compiler import check_compiler, compile_c

ARCHITECTURES = {"arm64-v8a": "aarch64", "x86_64": "x86_64"}
"""The compiler's name for each ABI."""
VARIANTS = ("mnas_runner", "mnas_runner_bionic")
SOURCES = ("mnas_runner.c", "engine.c", "device.c", "report.c")
HEADER_PACKAGE = DebianPackage(
    path="pool/main/o/onnxruntime/libonnxruntime-dev_1.21.0+dfsg-1_amd64.deb",
    sha256="14f7d959d5deacbcf1504830d4189f91fc67382b399ed9ae9d3aa9c4050ced08",
)
BIONIC_FUNCTIONS = {
    "libc": (
        "__errno __libc_init __sched_cpucount _exit calloc clock_gettime close dup dup2 fclose fopen fread free "
        "fseek ftell get_nprocs getrusage memcpy memset nanosleep open pread qsort read realloc sched_getaffinity "
        "sched_getcpu sched_setaffinity snprintf sscanf strcmp strcspn strerror strlen strstr strtod tolower "
        "vsnprintf write"
    ),
    "libm": "floor fmod ldexp",
    "libdl": "dlerror dlopen dlsym",
}
"""The functions that the bionic variant calls, by library; every Android since 6.0 (API 23) has them."""

_FOLDER = Path(__file__).parents[1] / "latency" / "runner"
_HEADER_FOLDER = "header/usr/include/onnxruntime"
_COMPILE = (
    *("-std=c11", "-Os", "-fPIE", "-fno-asynchronous-unwind-tables", "-fno-stack-protector"),
    *("-Wall", "-Wextra", "-Werror", f"-isystem{_HEADER_FOLDER}"),
)
_LINK = ("-pie", "-s", "-Wl,--build-id=none", "-Wl,-z,max-page-size=65536")


def prebuilt(abi: str, variant: str) -> Path:
    """Return the committed binary of a variant for an ABI."""
    return _FOLDER / "prebuilt" / abi / variant


def build(folder: Path) -> None:
    """Build every variant for every ABI as `folder/ABI/VARIANT`.

    Raises:
        ToolError: `compiler_missing`, `build_failed`, or `runtime_unavailable` if the header cannot be fetched.
    """
    check_compiler()
    [header_package] = debian_packages([HEADER_PACKAGE])
    for abi, architecture in ARCHITECTURES.items():
        with tempfile.TemporaryDirectory() as temporary:
            # Relative names: no path of this machine gets into a binary.
            work = Path(temporary)
            for source in _FOLDER.glob("*.[ch]"):
                shutil.copy(source, work)
            unpack_debian_package(header_package, work / "header")
            _build_for_glibc(work, f"{architecture}-linux-gnu.2.28")  # ONNX Runtime's wheels ask for glibc 2.28, too.
            _build_for_bionic(work, f"{architecture}-linux-musl")
            (folder / abi).mkdir(parents=True, exist_ok=True)
            for variant in VARIANTS:
                shutil.copy(work / variant, folder / abi / variant)


def differing(folder: Path) -> list[str]:
    """Return the binaries in a folder, as `ABI/VARIANT`, that differ from the committed ones."""
    return [
        f"{abi}/{variant}"
        for abi in ARCHITECTURES
        for variant in VARIANTS
        if not prebuilt(abi, variant).is_file()
        or prebuilt(abi, variant).read_bytes() != (folder / abi / variant).read_bytes()
    ]


def _build_for_glibc(work: Path, target: str) -> None:
    compile_c(["-target", target, *_COMPILE, *SOURCES, "-o", "mnas_runner", *_LINK, "-ldl", "-lm"], work)


def _build_for_bionic(work: Path, target: str) -> None:
    """Compile with musl's headers; link to empty libraries that have the names of Android's."""
    libraries = []
    for library, functions in BIONIC_FUNCTIONS.items():
        (work / f"{library}.c").write_text("".join(f"void {function}(void) {{}}\n" for function in functions.split()))
        name = ["-o", f"{library}.so", f"-Wl,-soname,{library}.so"]
        empty = ["-w", "-fno-builtin", "-fPIC", "-shared", "-nostdlib", f"{library}.c", *name]
        compile_c(["-target", target, *empty], work)
        libraries.append(f"{library}.so")
    objects = []
    for source in (*SOURCES, "start_bionic.c"):
        objects.append(source.replace(".c", ".o"))
        compile_c(["-target", target, *_COMPILE, "-c", source, "-o", objects[-1]], work)
    link = [*_LINK, "-nostdlib", "-Wl,--dynamic-linker=/system/bin/linker64"]
    compile_c(["-target", target, *objects, *libraries, "-o", "mnas_runner_bionic", *link], work)


def main() -> int:
    """Build or check; return 1 if a binary differs, 2 if it cannot be built."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.build_phone_runner", description="Build the on-phone runner."
    )
    parser.add_argument("--check", action="store_true", help="compare with the committed binaries, change nothing")
    arguments = parser.parse_args()
    try:
        if not arguments.check:
            build(_FOLDER / "prebuilt")
            return 0
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder))
            different = differing(Path(folder))
    except ToolError as error:
        print(error, file=sys.stderr)
        return 2
    for name in different:
        print(f"{name}: the committed binary is not what the sources give; run without --check", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
