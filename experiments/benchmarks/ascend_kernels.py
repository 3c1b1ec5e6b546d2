"""Count the kernels of one training step on Ascend, by primitive and by path.

    python -m experiments.benchmarks.ascend_kernels --results FILE.json

At jit level O0 an Ascend device runs a step as a sequence of kernels. MindSpore takes each by one of these paths:

    aclnn   a kernel of CANN's newer interface, compiled ahead
    aclop   a kernel of its older interface, which by default CANN compiles online for each shape
    view    no kernel: the result is another view of the same memory
    cpu     no kernel on Ascend: MindSpore computes it on the host and copies its inputs and results

No NPU is needed: nothing is executed and nothing is timed. MindSpore's dry run (`MS_SIMULATION_LEVEL=1`) compiles the
step and selects the kernels, and its log says which. It does not know the model of the NPU, so what depends on that is
not in the counts. Without CANN, the process loads the stubs of `tools.build_cann_stubs`. It is ended after the
selection, because the next thing, building the kernels, needs the real CANN.

The steps are those of a child of the experiment `imagenet_ascend` and of the two recipes for ImageNet, each on one card
with one batch of 256 images.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

import msgspec
import numpy as np

from mnas.bundled_files import find_recipe
from mnas.data import ImageArrays
from mnas.data.preprocessing import Preprocessing
from mnas.documents.errors import Error
from mnas.experiment import Experiment
from mnas.mindspore_setup import Compute
from mnas.retrain.recipe import load_recipe
from mnas.training.settings import TrainingSettings
from mnas.training.trainer import Trainer
from search_space import lower, reference
from search_space.lowering import LoweredNetwork
from tools.build_cann_stubs import cached_stubs, has_toolkit

KernelPath = Literal["aclnn", "aclop", "view", "cpu"]
MODULE = "experiments.benchmarks.ascend_kernels"
BATCH_SIZE = 256

# Lines of MindSpore's log, from the name of the function that writes them.
_KERNEL = re.compile(r"GenerateKernelBuildInfo\] \S*?(\w+)-op\d+ input_num")
_SELECTED = re.compile(r"CollectOpSelectedType\] (\w+) select (aclnn|aclop) kernel")
_VIEW = re.compile(r"IsEnableAclnn\] Kernel \S*?(\w+)-op\d+ is view op")
_ON_CPU = re.compile(r"TryBackoffCpu\] .*node:\S*?(\w+)-op\d+")
_TOTAL_NAMES = re.compile(r"PrintOpSelectedNum\] Number of (.*):")
_TOTALS = re.compile(r"PrintOpSelectedNum\] ([\d ]+)$")
_TOTAL_OF = {"aclnn": "OPAPI_KERNEL", "aclop": "ACL_KERNEL"}


class CensusError(Error):
    """The kernels of a step cannot be counted."""


@dataclass(frozen=True)
class Kernels:
    """How many kernels of a step compute one primitive, by one path."""

    primitive: str
    path: KernelPath
    count: int


@dataclass(frozen=True)
class Step:
    """A training step by its name: a network and how it is trained."""

    network: LoweredNetwork
    settings: TrainingSettings


def steps() -> dict[str, Step]:
    """Return the steps that are counted, by name."""
    b1, a1 = (
        lower(reference(name).architecture.scaled(width)) for name, width in (("mnasnet-b1", 0.75), ("mnasnet-a1", 1.0))
    )
    child = Experiment.load("imagenet_ascend").training
    return {
        "B1 0.75, child": Step(b1, child),
        "A1, child": Step(a1, child),
        "B1 0.75, recipe mnasnet_0.75_ascend": Step(b1, load_recipe(find_recipe("mnasnet_0.75_ascend")).training),
        "A1, recipe mnasnet_paper": Step(a1, load_recipe(find_recipe("mnasnet_paper")).training),
    }


def black_images(network: LoweredNetwork, count: int) -> ImageArrays:
    """Return black images of the form that a network is lowered for; all are one array in memory."""
    shape = (count, network.image_size, network.image_size, network.channels)
    return ImageArrays(
        images=np.broadcast_to(np.uint8(0), shape),
        labels=np.zeros(count, np.int32),
        class_names=tuple(str(label) for label in range(network.num_classes)),
        preprocessing=Preprocessing(crop=0, flip=False, mean=(0.5,) * network.channels, std=(0.25,) * network.channels),
    )


def compile_step(step: Step) -> None:
    """Compile a step for Ascend, in this process."""
    settings = msgspec.structs.replace(step.settings, batch_size=BATCH_SIZE)
    Trainer(step.network, settings, black_images(step.network, BATCH_SIZE), seed=0, compute=Compute("Ascend"))


def count_kernels(*program: str) -> list[Kernels]:
    """Return the kernels that MindSpore selects for the first graph of a Python program.

    Args:
        program: What follows `python` in the command, such as `-m`, a module and its arguments.

    Raises:
        StubError: There is no CANN, and its stubs cannot be built.
        CensusError: The program ended without a selection, or MindSpore's log has another form.
    """
    environment = {} if has_toolkit() else cached_stubs()
    process = subprocess.Popen(
        [sys.executable, *program],
        env={**os.environ, **environment, "MS_SIMULATION_LEVEL": "1", "GLOG_v": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    with process, process.stdout as log:
        try:
            return read_log(log)
        finally:
            process.kill()


def read_log(lines: Iterable[str]) -> list[Kernels]:
    """Return the kernels that a log of MindSpore names, up to its totals; they must agree.

    The most frequent come first, and those on the CPU last.

    Raises:
        CensusError: There are no totals, or the kernels do not add up to them.
    """
    kernels: Counter[str] = Counter()
    on_cpu: Counter[str] = Counter()
    path_of: dict[str, KernelPath] = {}
    views: set[str] = set()
    names: list[str] = []
    errors: list[str] = []
    for line in lines:
        if found := _KERNEL.search(line):
            kernels[found[1]] += 1
        elif found := _SELECTED.search(line):
            path_of[found[1]] = "aclnn" if found[2] == "aclnn" else "aclop"
        elif found := _VIEW.search(line):
            views.add(found[1])
        elif found := _ON_CPU.search(line):
            on_cpu[found[1]] += 1
        elif found := _TOTAL_NAMES.search(line):
            names = [name.strip() for name in found[1].split(",")]
        elif found := _TOTALS.search(line.rstrip()):
            totals = dict(zip(names, map(int, found[1].split()), strict=False))
            selected = _checked(kernels, {**dict.fromkeys(views, "view"), **path_of}, totals)
            return [*selected, *(Kernels(name, "cpu", count) for name, count in on_cpu.most_common())]
        elif "Error" in line or "ERROR" in line:
            errors.append(line.strip())
    raise CensusError(
        "MindSpore ended before it had selected the kernels" + "".join(f"; {each}" for each in errors[-1:])
    )


def _checked(kernels: Counter[str], path_of: Mapping[str, KernelPath], totals: Mapping[str, int]) -> list[Kernels]:
    if unknown := sorted(kernels.keys() - path_of.keys()):
        raise CensusError(f"MindSpore's log does not say by which path it takes {', '.join(unknown)}")
    found = [Kernels(name, path_of[name], count) for name, count in kernels.most_common()]
    for path, total in _TOTAL_OF.items():
        counted = total_of(found, path)
        if counted != totals.get(total):
            raise CensusError(
                f"MindSpore's log names {counted} {path} kernels and gives {totals.get(total)} as their total"
            )
    return found


def total_of(kernels: Iterable[Kernels], path: str) -> int:
    """Return the number of kernels that take a path."""
    return sum(each.count for each in kernels if each.path == path)


def table(name: str, kernels: Sequence[Kernels]) -> str:
    """Return the kernels of a step as text."""
    totals = ", ".join(f"{total_of(kernels, path)} {path}" for path in get_args(KernelPath))
    head = f"{name}: {sum(each.count for each in kernels)} kernels ({totals})"
    return "\n".join([head, *(f"  {each.count:5}  {each.path}  {each.primitive}" for each in kernels)])


def main() -> int:
    """Count and print; return 2 if that is not possible."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {MODULE}",
        description="Count the kernels of one training step on Ascend, by primitive and by path.",
    )
    parser.add_argument("--results", type=Path, help="write the counts to this JSON file, too")
    parser.add_argument("--compile", metavar="STEP", choices=list(steps()), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compile is not None:
        compile_step(steps()[arguments.compile])
        return 0
    try:
        counted = {name: count_kernels("-m", MODULE, "--compile", name) for name in steps()}
    except Error as error:
        print(error, file=sys.stderr)
        return 2
    print("\n\n".join(table(name, kernels) for name, kernels in counted.items()))
    if arguments.results is not None:
        document = {
            "command": f"python -m {MODULE}",
            "mindspore": version("mindspore"),
            "cann": "installed" if has_toolkit() else "stubs",
            "steps": {name: [asdict(each) for each in kernels] for name, kernels in counted.items()},
        }
        arguments.results.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
