"""The stand-ins of the dry run of a search. The run itself takes a minute and is started by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.benchmarks.ascend_dry_run import DEVICE_BYTES, ROOT, DryRun, write_modules
from mnas.machine.ascend import PACKAGES

PROBED = ["acl", "te", "sitecustomize", *PACKAGES]


def test_mindspore_is_switched_at_its_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MS_SIMULATION_LEVEL", "")
    DryRun().find_spec("mindspore.nn", None)
    assert os.environ["MS_SIMULATION_LEVEL"] == ""
    DryRun().find_spec("mindspore", None)
    assert os.environ["MS_SIMULATION_LEVEL"] == "0"


def test_a_process_finds_one_npu_and_all_that_cann_needs(tmp_path: Path) -> None:
    write_modules(tmp_path)
    program = f"import acl, importlib; [importlib.import_module(n) for n in {PROBED}]; print(acl.rt.get_mem_info(1))"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout == f"({DEVICE_BYTES}, {DEVICE_BYTES}, 0)\n", done.stderr
