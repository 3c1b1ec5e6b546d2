"""The graphs compile for Ascend's front end. Nothing is executed, and nothing numerical is shown.

MindSpore's front end infers the types and shapes of every primitive and applies its own checks for Ascend. It does not
check that Ascend has a kernel for each; see `test_kernels.py`.
"""

import re
from collections.abc import Callable

import pytest

from tests.mnas.ascend.conftest import Compiled
from tests.mnas.ascend.graphs import GROUPS

ACCEPTED = [(group, graph.name) for group, graphs in GROUPS.items() if group != "refused" for graph in graphs()]
REFUSED = {
    "float64 convolution": r"primitive\[Conv2D\], the input argument\[w\] must be .* but got Tensor\[Float64\]",
    "3-d convolution in groups": "On Ascend platform, group = 1 must be satisfied",
}


@pytest.mark.parametrize(("group", "name"), ACCEPTED, ids=[name for _, name in ACCEPTED])
def test_a_graph_compiles_for_ascends_front_end(
    compiled: Compiled, say: Callable[[str], None], group: str, name: str
) -> None:
    assert compiled.error(group, name) is None
    if (memory := compiled.results[name].get("peak_memory_mb")) is not None:
        say(f"{name}: {memory:.0f} MB of device memory at its peak")


@pytest.mark.parametrize(("name", "reason"), REFUSED.items(), ids=REFUSED)
def test_what_ascends_front_end_refuses_does_not_compile(compiled: Compiled, name: str, reason: str) -> None:
    error = compiled.error("refused", name)
    assert error is not None
    assert re.search(reason, error)
