"""Build the wheel and the sdist, install the wheel into a clean environment, and use it outside the checkout.

    python -m tools.check_wheel

It checks that the wheel built from the sdist holds the same files as the one from the checkout, which names can be
imported, that building leaves nothing in the checkout, and that a search, an export, the commands for a first
experiment, the loopback phone and the examples work in an empty folder. Packages come through pip, which caches them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
IMPORT_NAMES = {"controllers", "latency", "mnas", "search_space"}
BUILT = ("build", "dist", "mnas.egg-info")
TRIALS = 4
PHONE_TIMEOUT_S = 120
# The wheel is checked and not the machine, which may be busy: every measurement is accepted.
TOLERANT = (
    "contention_limit=10",
    "relative_mad_limit=1",
    "switches_per_s_limit=1e6",
    "others_busy_limit=1e3",
    "drift_limit=1e3",
    "session_spread_limit=1e3",
    "faster_limit=1",
)


class CheckError(Exception):
    """Something about the wheel is not as it should be."""


def main() -> int:
    """Run all checks and return the exit code."""
    before = {name for name in BUILT if (CHECKOUT / name).exists()}
    with tempfile.TemporaryDirectory(prefix="mnas-wheel-") as temporary:
        folder = Path(temporary)
        try:
            wheel, sdist = build(folder / "dist")
            check_files(wheel, rebuilt(sdist, folder / "rebuilt"))
            if left := {name for name in BUILT if (CHECKOUT / name).exists()} - before:
                raise CheckError(f"the build leaves {', '.join(sorted(left))} in the checkout")
            use(installed(wheel, folder / "venv"), folder)
        except CheckError as error:
            print(f"check_wheel: {error}", file=sys.stderr)
            return 1
    say("all is well")
    return 0


def build(target: Path) -> tuple[Path, Path]:
    """Build wheel and sdist from the checkout and return their paths."""
    say("building wheel and sdist")
    run([sys.executable, "-m", "build", "--wheel", "--sdist", "--outdir", str(target), str(CHECKOUT)])
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return wheel, sdist


def rebuilt(sdist: Path, target: Path) -> Path:
    """Build a wheel from the sdist and return its path."""
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(sdist)])
    (wheel,) = target.glob("*.whl")
    return wheel


def check_files(wheel: Path, from_sdist: Path) -> None:
    """Raise CheckError if the wheel holds what it should not, or the sdist leads to another one."""
    names = set(zipfile.ZipFile(wheel).namelist())
    if difference := names ^ set(zipfile.ZipFile(from_sdist).namelist()):
        raise CheckError(f"wheels from checkout and sdist differ in {', '.join(sorted(difference))}")
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    if top != IMPORT_NAMES:
        raise CheckError(f"the wheel installs {', '.join(sorted(top))}; it should {', '.join(sorted(IMPORT_NAMES))}")
    bundled = {name for name in names if name.startswith("mnas/bundled/")}
    if not any(name.endswith(".yaml") for name in bundled) or not all(map(_belongs, bundled)):
        raise CheckError(
            "mnas/bundled should hold YAML files and its __init__.py only; "
            f"it holds {', '.join(sorted(bundled)) or 'nothing'}"
        )


def _belongs(name: str) -> bool:
    return name.endswith(".yaml") or name == "mnas/bundled/__init__.py"


def installed(wheel: Path, folder: Path) -> Path:
    """Install the wheel into a new environment and return the folder of its programs."""
    say("installing the wheel into a clean environment")
    venv.create(folder, with_pip=True)
    run([str(folder / "bin" / "pip"), "install", "--quiet", "-c", str(CHECKOUT / "constraints.txt"), str(wheel)])
    return folder / "bin"


def use(programs: Path, folder: Path) -> None:
    """Use the installed commands in an empty folder, as a new user does."""
    work = folder / "work"
    work.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    # Profiles, leases and latencies of the user stay out of it; downloads are shared.
    environment |= {
        "XDG_STATE_HOME": str(folder / "state"),
        "MNAS_PHONES": str(folder / "phones"),
        "MNAS_LATENCY_CACHE": "off",
        "PATH": f"{programs}{os.pathsep}{environment.get('PATH', '')}",
    }

    def mnas(*arguments: str) -> str:
        say(f"mnas {' '.join(arguments)}")
        return run([str(programs / "mnas"), *arguments], cwd=work, environment=environment)

    mnas("search", "quickstart", "--set", f"search.trials={TRIALS}")
    mnas("best", "runs/quickstart", "--yaml")
    mnas("export", "runs/quickstart", "--out", "export/found")
    mnas("init", "cifar10", "--to", "mine.yaml")
    mnas("schema")
    mnas("completion", "bash")
    model = work / "export" / "found" / "model.onnx"
    if not model.is_file():
        raise CheckError(f"mnas export has not written {model}")
    use_loopback_phone(programs, work, environment, model)
    for script in sorted((CHECKOUT / "experiments" / "examples").glob("*.py")):
        run_example(script, programs, work, environment)


def run_example(script: Path, programs: Path, work: Path, environment: Mapping[str, str]) -> None:
    """Run an example of the Python interface; skipped if it needs a package that mnas does not."""
    say(f"python {script.name}")
    try:
        run([str(programs / "python"), str(script)], cwd=work, environment=environment)
    except CheckError as error:
        if "No module named 'optuna'" not in str(error):
            raise
        say("skipped: optuna is not installed")


def use_loopback_phone(programs: Path, work: Path, environment: Mapping[str, str], model: Path) -> None:
    """Time a model on the loopback phone, added as its own output says; skipped if its packages cannot be had."""
    say("mnas phones loopback")
    with subprocess.Popen(
        [str(programs / "mnas"), "phones", "loopback", "--port", "0"],
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as daemon:
        try:
            assert daemon.stdout is not None
            assert daemon.stderr is not None
            daemon.stdout.readline()
            add = daemon.stdout.readline().split()
            if not add:
                daemon.wait(PHONE_TIMEOUT_S)
                say(f"skipped: no loopback phone here ({daemon.stderr.read().strip()})")
                return
            say(" ".join(add))
            tolerant = [word for limit in TOLERANT for word in ("--set", limit)]
            run([str(programs / add[0]), *add[1:], *tolerant], cwd=work, environment=environment)
            measured = ["phones", "measure", str(model), "--phone", "my-phone"]
            say(f"mnas {' '.join(measured)}")
            run([str(programs / "mnas"), *measured], cwd=work, environment=environment)
        finally:
            daemon.terminate()


def run(command: Sequence[str], cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it prints. Raises CheckError if it fails."""
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise CheckError(f"{' '.join(command)} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout


def say(text: str) -> None:
    """Print a line with the time since the start."""
    print(f"{time.monotonic() - _STARTED:6.1f} s  {text}", flush=True)


_STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
