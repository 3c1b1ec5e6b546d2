"""The reference network.

What slows the core down slows it down as it does the candidates.

A core can be slower than before without a sign in its CPU times or context switches: by a lower clock, a neighbour on
the other hyper-thread (which may belong to another virtual machine), or a full memory bus. So every window times a
fixed small network too, before and after the candidate, and compares it with its best time on this core.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIZE = 32, 28

# Wide with small images, the reference network's own, narrow with large ones: calibration compares units on all three.
CALIBRATION_SIZES = ((160, 14), (CHANNELS, SIZE), (16, 112))


def calibration_models() -> list[bytes]:
    """Return the networks on which units of one model are compared."""
    return [reference_model(channels, size) for channels, size in CALIBRATION_SIZES]


def reference_model(channels: int = CHANNELS, size: int = SIZE) -> bytes:
    """Return the reference network.

    Three convolutions as in mobile networks, about 0.1 ms on a desktop's core.
    """
    generator = np.random.default_rng(0)
    shapes = {"expand": (4 * channels, channels, 1, 1), "depthwise": (4 * channels, 1, 3, 3)}
    shapes["project"] = (channels, 4 * channels, 1, 1)
    weights = [
        numpy_helper.from_array(generator.uniform(-0.1, 0.1, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["input", "expand"], ["expanded"]),
        helper.make_node("Relu", ["expanded"], ["active"]),
        helper.make_node("Conv", ["active", "depthwise"], ["filtered"], pads=[1, 1, 1, 1], group=4 * channels),
        helper.make_node("Conv", ["filtered", "project"], ["output"]),
    ]
    form = [1, channels, size, size]
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, form)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, form)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return bytes(model.SerializeToString())
