"""MindSpore selects an operator of CANN for every primitive of every kind of layer. None is built or executed."""

from pathlib import Path

import pytest

from experiments.benchmarks.ascend_kernels import MODULE, count_kernels, total_of

PROGRAM = ("-m", "tests.mnas.ascend.compile_graphs")


@pytest.mark.usefixtures("dry_run")
def test_every_kind_of_layer_has_ascend_kernels(tmp_path: Path) -> None:
    kernels = count_kernels(*PROGRAM, "every layer", str(tmp_path / "results.jsonl"))
    found = {each.primitive: each.path for each in kernels}
    # Of convolutions, squeeze-and-excitation, pooled inputs that gain and lose channels, the residual, and the update.
    assert {"Conv2DExt", "Sigmoid", "AvgPool", "Concat", "StridedSlice", "Add", "InplaceAddExt"} <= found.keys()
    assert set(found.values()) == {"aclnn", "aclop", "view"}


@pytest.mark.usefixtures("dry_run")
def test_a_child_has_few_kernels_and_hardly_one_of_the_older_interface() -> None:
    kernels = count_kernels("-m", MODULE, "--compile", "B1 0.75, child")
    assert sum(each.count for each in kernels) <= 450
    assert total_of(kernels, "aclop") <= 30
    assert total_of(kernels, "cpu") == 0
