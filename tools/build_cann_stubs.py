"""Build stub libraries of CANN: `python -m tools.build_cann_stubs FOLDER`.

MindSpore's wheel contains its Ascend plugin. The plugin needs the libraries of CANN, Huawei's toolkit, and does not
load without them. In MindSpore's dry run (`MS_SIMULATION_LEVEL=0`) it compiles a graph for Ascend without calling them.
So libraries with the same names, in which every function returns 0, are enough to compile a graph on a machine without
CANN and without an NPU. They execute nothing: what a compiled graph returns means nothing.

The stubs come from what the plugin's own libraries say that they need: `readelf` lists the libraries, `nm` the symbols.
gcc compiles them. Nothing of CANN is copied or fetched.

Run on x86-64 Linux with the wheel of MindSpore 2.10.0. Not run on aarch64.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from latency.user_folders import cache_folder
from mnas.documents.errors import Error

CANN_VERSION = "9.1.0"
"""The version that the stubs claim: that of the operators in the wheel of MindSpore 2.10.0."""

_PROGRAMS = {"gcc": "gcc", "g++": "g++", "nm": "binutils", "readelf": "binutils"}
_PLUGIN = "plugin/libmindspore_ascend.so.2"
_MAIN_LIBRARY = "libascendcl.so"
_OPERATOR_LIBRARY = "libopapi.so"  # loaded by name at run time; the plugin looks for `aclnn...` functions in it
_MARK = "stubs.txt"

# The one function whose result the plugin uses while it loads: it writes messages into this table.
_STATUS_FACTORY = """\
#include <cstdint>
#include <map>
#include <string>

namespace ge {
class StatusFactory {
 public:
  static StatusFactory *Instance();
  std::map<uint32_t, std::string> messages;
};

StatusFactory *StatusFactory::Instance() {
  static StatusFactory instance;
  return &instance;
}
}  // namespace ge
"""
_STATUS_FACTORY_SYMBOL = "_ZN2ge13StatusFactory8InstanceEv"


class StubError(Error):
    """The stubs cannot be built here."""


@dataclass(frozen=True)
class Needs:
    """What the libraries of MindSpore's Ascend plugin need and neither the wheel nor the system has.

    Attributes:
        libraries: Names of shared libraries, such as `libhccl.so`.
        functions: Symbols of functions, C++ names mangled.
    """

    libraries: frozenset[str]
    functions: frozenset[str]


def mindspore_libraries() -> Path:
    """Return the folder `mindspore/lib` of the installed wheel; MindSpore is not imported.

    Raises:
        StubError: MindSpore is not installed, or its wheel has no Ascend plugin.
    """
    found = importlib.util.find_spec("mindspore")
    if found is None or found.origin is None:
        raise StubError("MindSpore is not installed; install it, such as by `pip install mindspore`")
    folder = Path(found.origin).parent / "lib"
    if not (folder / _PLUGIN).is_file():
        raise StubError(
            f"MindSpore's Ascend plugin is missing: {folder} has no {_PLUGIN}; install a wheel that has it, such as "
            "mindspore 2.10.0 for x86-64 Linux"
        )
    return folder


def find_needs(libraries: Path) -> Needs:
    """Return what the plugin in a folder `mindspore/lib` needs.

    Raises:
        StubError: gcc or binutils are missing.
    """
    check_programs()
    wheel = _shared_libraries(libraries.parent)
    plugin = [path for path in wheel if _is_of_plugin(path.relative_to(libraries.parent).as_posix())]
    others = frozenset(name for path in plugin for name in _needed_libraries(path)) - {path.name for path in wheel}
    system = {name: path for name in others if (path := _system_library(name)) is not None}
    defined = frozenset(symbol for path in (*wheel, *system.values()) for symbol in _symbols(path, "--defined-only"))
    needed = frozenset(symbol for path in plugin for symbol in _symbols(path, "--undefined-only"))
    # The interpreter, which loads the plugin, has Python's own.
    missing = frozenset(symbol for symbol in needed - defined if not symbol.startswith(("Py", "_Py")))
    return Needs(others - system.keys(), missing)


def check_programs() -> None:
    """Check that gcc and binutils are installed.

    Raises:
        StubError: One is missing; the message names its package.
    """
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        packages = sorted({_PROGRAMS[program] for program in missing})
        raise StubError(
            f"the stubs of CANN cannot be built: {', '.join(missing)} missing; install {', '.join(packages)}, such as "
            f"by `apt-get install {' '.join(packages)}`"
        )


def build(folder: Path, libraries: Path) -> None:
    """Build the stubs into a folder, for the plugin in `libraries`, a folder `mindspore/lib`.

    Raises:
        StubError: gcc or binutils are missing, or fail.
    """
    needs = find_needs(libraries)
    target = folder / "cann" / "lib64"
    target.mkdir(parents=True)
    (folder / "cann" / "opp").mkdir()
    operators = frozenset(symbol for symbol in needs.functions if symbol.startswith("aclnn"))
    functions = needs.functions - operators - {_STATUS_FACTORY_SYMBOL}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "main.c").write_text(_c_source(functions))
        (work / "operators.c").write_text(_c_source(operators))
        (work / "status_factory.cc").write_text(_STATUS_FACTORY)
        # -w and -fno-builtin: the stubs of functions that the compiler knows do not have their real types.
        form = ("-w", "-O1", "-fPIC", "-fno-builtin")
        for source in ("main.c", "operators.c"):
            _run("gcc", *form, "-c", source, "-o", f"{source}.o", cwd=work)
        # The wheel is compiled with strings as they were before C++11.
        _run("g++", *form, "-D_GLIBCXX_USE_CXX11_ABI=0", "-c", "status_factory.cc", "-o", "status_factory.o", cwd=work)
        _run("g++", "-shared", "main.c.o", "status_factory.o", "-o", str(target / _MAIN_LIBRARY), cwd=work)
        _run("gcc", "-shared", "operators.c.o", "-o", str(target / _OPERATOR_LIBRARY), cwd=work)
    for name in needs.libraries - {_MAIN_LIBRARY, _OPERATOR_LIBRARY}:
        (target / name).symlink_to(_MAIN_LIBRARY)
    (target / _MARK).write_text("Stubs of CANN, for MindSpore's dry run only: tools/build_cann_stubs.py\n")
    _write_hccl(folder / "python" / "hccl")


def environment(folder: Path, libraries: Path) -> dict[str, str]:
    """Return the variables that a process needs to load the stubs in a folder and to compile in a dry run.

    They are for the process's start: the dynamic linker reads LD_LIBRARY_PATH once.
    """
    cann, plugin = folder / "cann", libraries / "plugin" / "ascend"
    nested = sorted({path.parent for path in plugin.glob("ms_kernels_symmetric_memory/**/lib/*.so")})
    searched = (cann / "lib64", libraries, plugin, *nested)
    return {
        "MS_SIMULATION_LEVEL": "0",
        "ASCEND_HOME_PATH": str(cann),
        "ASCEND_OPP_PATH": str(cann / "opp"),
        "LD_LIBRARY_PATH": _path_list(searched, "LD_LIBRARY_PATH"),
        "PYTHONPATH": _path_list([folder / "python"], "PYTHONPATH"),
    }


def cached_stubs() -> dict[str, str]:
    """Build the stubs in the user's cache if it does not have them; return the variables of `environment`.

    Raises:
        StubError: MindSpore, its Ascend plugin, gcc or binutils are missing, or the stubs do not compile.
    """
    libraries = mindspore_libraries()
    folder = cache_folder() / "cann-stubs" / _key()
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Next to its final place, which it takes only when complete: two processes may build at once.
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            built = Path(temporary) / "stubs"
            build(built, libraries)
            try:
                built.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
    return environment(folder, libraries)


def has_toolkit() -> bool:
    """Return whether this process sees a real CANN.

    ASCEND_HOME_PATH, which CANN's `set_env.sh` sets, has its libraries then. It may also name stubs.
    """
    libraries = Path(os.environ.get("ASCEND_HOME_PATH", os.devnull)) / "lib64"
    return (libraries / _MAIN_LIBRARY).exists() and not (libraries / _MARK).exists()


def _key() -> str:
    """Return a hash of the wheel's libraries, as its RECORD lists them, and of this program."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for file in distribution("mindspore").files or ():
        if ".so" in file.name and file.hash is not None:
            digest.update(f"{file} {file.hash.value}\n".encode())
    return digest.hexdigest()[:16]


def _shared_libraries(package: Path) -> list[Path]:
    """Return the wheel's libraries for this machine's processor; a wheel has a few for others."""
    machine = _elf_machine(Path(sys.executable))
    paths = sorted(path for path in package.rglob("*.so*") if path.is_file())
    return [path for path in paths if _elf_machine(path) == machine]


def _elf_machine(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(20)[18:]


def _is_of_plugin(path: str) -> bool:
    return path.startswith(
        ("lib/plugin/ascend/", "lib/plugin/libmindspore_ascend.", "lib/plugin/libmindspore_ops_ascend.")
    )


def _needed_libraries(path: Path) -> list[str]:
    return re.findall(r"\(NEEDED\).*\[(.+)\]", _run("readelf", "--dynamic", "--wide", str(path)))


def _symbols(path: Path, which: str) -> list[str]:
    """Return the names of a library's symbols, without weak ones that are undefined: they may be missing."""
    lines = (line.split() for line in _run("nm", "--dynamic", which, str(path)).splitlines())
    return [parts[-1].partition("@")[0] for parts in lines if not (which == "--undefined-only" and parts[-2] in "wv")]


def _system_library(name: str) -> Path | None:
    # gcc prints the name alone if it does not know such a file.
    found = Path(_run("gcc", f"-print-file-name={name}").strip())
    return found if found.is_absolute() else None


def _c_source(functions: frozenset[str]) -> str:
    # A mangled name of C++ is a name in C.
    return "".join(f"long {name}(void) {{ return 0; }}\n" for name in sorted(functions))


def _write_hccl(package: Path) -> None:
    """Write the parts of CANN's Python package `hccl` that MindSpore imports when processes meet."""
    (package / "manage").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "sys_version.py").write_text(f'__sys_version__ = "{CANN_VERSION}"\n')
    (package / "manage" / "__init__.py").touch()
    (package / "manage" / "api.py").write_text("def create_group(*arguments):\n    return 0\n")


def _path_list(folders: Iterable[Path], variable: str) -> str:
    before = os.environ.get(variable)
    return os.pathsep.join([*map(str, folders), *([before] if before else [])])


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "LC_ALL": "C.UTF-8"})
    if done.returncode:
        raise StubError(f"the stubs of CANN cannot be built: {command[0]} failed: {done.stderr.strip()}")
    return done.stdout


def main() -> int:
    """Build and print the variables; return 2 if that is not possible."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.build_cann_stubs",
        description="Build stub libraries of CANN, and print the variables that a process needs to load them.",
    )
    parser.add_argument("folder", type=Path, help="a new folder for the stubs")
    folder: Path = parser.parse_args().folder.absolute()
    try:
        if folder.exists():
            raise StubError(f"{folder} exists; name a new folder")
        libraries = mindspore_libraries()
        build(folder, libraries)
    except StubError as error:
        print(error, file=sys.stderr)
        return 2
    for name, value in environment(folder, libraries).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
