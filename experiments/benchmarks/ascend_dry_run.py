"""Carry out `mnas search experiments/imagenet_ascend.yaml` as far as it goes without an NPU.

    python -m experiments.benchmarks.ascend_dry_run

It takes about a minute, and works in a temporary folder.

As on a machine with an NPU: the command and its YAML file, with few and small numbers by `--set`; the check of the
machine, at the start and in the worker; Ray, which finds one NPU and gives it to a worker; the memory limit of the
worker and its folders for CANN; pictures from class folders, streamed and augmented; for each child the training step
and the evaluation, compiled for Ascend's front end; the latency of its ONNX model on this machine; controller, store,
and the files of the run directory.

Stand-ins: the libraries of CANN are the stubs of `tools.build_cann_stubs`; its Python modules `acl` (one NPU with
64 GB) and `te`, and those packages that CANN needs and that are not installed, are made here. **No graph is executed**:
a step that MindSpore has compiled answers with a loss of 1, and an evaluation with zeros. So accuracies mean nothing,
and no kernel, memory or speed of an NPU is tested.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[2]
MODULE = "experiments.benchmarks.ascend_dry_run"
TRIALS = 2
CLASSES, PICTURES_OF_A_CLASS, SIDE = 2, 24, 256
BATCH_SIZE, REWARD_IMAGES = 8, 16
CHANGES = {
    "data.reward_images": REWARD_IMAGES,
    "data.decode_workers": 2,
    "training.batch_size": BATCH_SIZE,
    "search.trials": TRIALS,
    "search.batch_size": TRIALS,
    "search.workers": 1,
}
DEVICE_BYTES = 64 * 10**9

# What a Python process loads at its start, and what CANN has; each finds its contents in this module.
FILES = {
    "sitecustomize.py": f"import sys\nfrom {MODULE} import DryRun\nsys.meta_path.insert(0, DryRun())\n",
    "acl.py": f"from {MODULE} import acl_finalize as finalize, acl_init as init, acl_rt as rt, get_soc_name\n",
    "te/__init__.py": "",
    "te/version.py": 'version = "9.1.0"\n',
}


class DryRun(MetaPathFinder):
    """Switches MindSpore to its dry run, and gives it an answer for what it does not execute.

    mnas refuses MS_SIMULATION_LEVEL when it looks at the machine. So it is set as late as the import of MindSpore.
    """

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Prepare what is about to be imported; leave finding it to the others."""
        if fullname == "mindspore":
            os.environ["MS_SIMULATION_LEVEL"] = "0"
        if fullname == "te" and "mindspore" in sys.modules:
            # MindSpore would register operators of its own with it; it does without if there is none.
            raise ModuleNotFoundError("the stand-in of te is for the check of the machine")
        if fullname == "mnas.network.mindspore_cell":
            from mindspore import nn

            nn.Cell.compile_and_run = compile_and_answer


def compile_and_answer(cell: Any, *inputs: Any) -> Any:
    """Compile a cell for its inputs; return a loss of a training step, or logits of a network."""
    import numpy as np
    from mindspore import Tensor

    from mnas.training.step import TrainingStep

    cell.compile(*inputs)
    if isinstance(cell, TrainingStep):
        return Tensor(np.float32(1))
    return Tensor(np.zeros((len(inputs[0]), CLASSES), np.float32))


def acl_init() -> int:
    """Answer as CANN's `acl.init`."""
    return 0


def acl_finalize() -> int:
    """Answer as CANN's `acl.finalize`."""
    return 0


def get_soc_name() -> str:
    """Answer as CANN's `acl.get_soc_name`."""
    return "Ascend910B1"


acl_rt = SimpleNamespace(
    get_device_count=lambda: (1, 0),
    set_device=lambda device: 0,
    get_mem_info=lambda kind: (DEVICE_BYTES, DEVICE_BYTES, 0),
    reset_device=lambda device: 0,
)
"""Answers as CANN's `acl.rt`."""


def write_modules(folder: Path) -> None:
    """Write the modules of CANN, and those packages that it needs and that are not installed."""
    from mnas.machine.ascend import PACKAGES

    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for module in PACKAGES:
        if find_spec(module) is None:
            (folder / f"{module}.py").touch()


def write_pictures(folder: Path) -> None:
    """Write pictures of noise in class folders, as ImageNet's are."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for number in range(CLASSES):
        (folder / "train" / f"n{number:08}").mkdir(parents=True)
        for picture in range(PICTURES_OF_A_CLASS):
            pixels = generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "train" / f"n{number:08}" / f"{picture}.JPEG")


def search(folder: Path) -> int:
    """Carry out the search in a folder; return the exit code of the command."""
    from tools.build_cann_stubs import cached_stubs

    write_modules(folder / "modules")
    write_pictures(folder / "images")
    stubs = cached_stubs()
    del stubs["MS_SIMULATION_LEVEL"]
    modules = os.pathsep.join([str(folder / "modules"), str(ROOT), stubs["PYTHONPATH"]])
    changes = {"data.directory": folder / "images", **CHANGES}
    command = ["search", str(ROOT / "experiments" / "imagenet_ascend.yaml"), "--run-dir", str(folder / "run")]
    return subprocess.run(
        [sys.executable, "-m", "mnas", *command, *(f"--set={key}={value}" for key, value in changes.items())],
        env={**os.environ, **stubs, "PYTHONPATH": modules},
        cwd=folder,  # MindSpore leaves folders where it runs
    ).returncode


def main() -> int:
    """Carry out the search; return its exit code, or 2 if CANN's stubs cannot be built."""
    from mnas.documents.errors import Error

    with tempfile.TemporaryDirectory() as folder:
        try:
            return search(Path(folder))
        except Error as error:
            print(error, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
