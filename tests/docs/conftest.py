"""A folder in which the documentation's commands run, as a reader would run them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mnas.experiment import Experiment
from tests.docs.pages import ROOT

TIMEOUT_S = 300
# Whether a machine is quiet is not what these tests are about: measurements that others disturb count, too.
ANY_MACHINE = {
    "contention_limit": 10,
    "drift_limit": 1000,
    "others_busy_limit": 1000,
    "relative_mad_limit": 1,
    "switches_per_s_limit": 1_000_000,
}
ON_ANY_MACHINE = " ".join(f"--set {field}={limit}" for field, limit in ANY_MACHINE.items())
# What is made smaller, so that all pages take less than two minutes together.
REPLACEMENTS = {
    "mnas search quickstart": "mnas search small.yaml --run-dir runs/quickstart",
    '"search.trials": 12': f'"search.trials": 3, "latency.measurement": {ANY_MACHINE}',
    "--count 5": "--count 2",
    "--phone host": f"--phone host {ON_ANY_MACHINE}",
    'measure("export/first/model.onnx")': f'measure("export/first/model.onnx", settings={ANY_MACHINE})',
}


class Workspace:
    """A reader's folder: commands and scripts run once each, whichever pages show them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._outputs: dict[str, str] = {}
        programs = folder / ".programs"
        programs.mkdir()
        for program, words in (("mnas", "-m mnas"), ("python", "")):
            path = programs / program
            path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "MNAS_"))},
            "HOME": str(folder / ".home"),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder))),
        }
        small = Experiment.load("quickstart").changed({"search.trials": 3, "latency.measurement": ANY_MACHINE})
        small.save(folder / "small.yaml")

    def write(self, name: str, text: str) -> None:
        """Write a file that a page tells its reader to write."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, command: str) -> str:
        """Run a shell command; return all that it prints. Fails the test if it fails."""
        return self._once(["bash", "-euo", "pipefail", "-c", self._smaller(command)], command)

    def run_python(self, script: str) -> str:
        """Run a script; return all that it prints. Fails the test if it fails."""
        return self._once([sys.executable, "-W", "error::SyntaxWarning", "-c", self._smaller(script)], script)

    def _smaller(self, text: str) -> str:
        for long, short in REPLACEMENTS.items():
            text = text.replace(long, short)
        return text

    def _once(self, arguments: list[str], key: str) -> str:
        if key not in self._outputs:
            done = subprocess.run(
                arguments,
                cwd=self.folder,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TIMEOUT_S,
            )
            assert done.returncode == 0, f"{key}\nends with {done.returncode}:\n{done.stdout}"
            self._outputs[key] = done.stdout
        return self._outputs[key]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The folder of all pages, with the finished search that most of them look at."""
    workspace = Workspace(tmp_path_factory.mktemp("reader"))
    workspace.run("mnas search quickstart")
    return workspace
