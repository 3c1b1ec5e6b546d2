"""MindSpore selects an operator of CANN for every primitive of every kind of layer. None is built or executed."""

from pathlib import Path

import pytest

from experiments.benchmarks.ascend_kernels import count_kernels

PROGRAM = ("-m", "tests.mnas.ascend.compile_graphs")


@pytest.mark.usefixtures("dry_run")
def test_every_kind_of_layer_has_ascend_kernels(tmp_path: Path) -> None:
    kernels = count_kernels(*PROGRAM, "every layer", str(tmp_path / "results.jsonl"))
    found = {each.primitive: each.path for each in kernels}
    # Of convolutions, squeeze-and-excitation, pooled inputs that gain and lose channels, the residual, and the update.
    assert {"Conv2D", "Sigmoid", "AvgPool", "Concat", "StridedSlice", "Add", "AssignAdd"} <= found.keys()
    assert set(found.values()) == {"aclnn", "aclop", "view"}
