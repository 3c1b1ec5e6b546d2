"""Whether two machines have computed the same outputs for a model.

The numbers of an output are summed in a few ways that show the place, the sign and the size of every element. The
on-phone runner (`latency/runner/engine.c`) and the host's make the same sums; only the sums travel. For each output
that holds numbers they are, in this order:

1. the sum of the squares of its finite elements;
2. `SIGNS` sums of its finite elements, each element with a sign that is a hash of its place;
3. a weighted count of the elements that are not finite: by place, and by NaN, infinity and minus infinity.

Two outputs differ by a vector d. A sum over d with random signs has the expected square |d|^2 (Johnson and
Lindenstrauss, 1984), so the signed sums tell |d| / |output|, whatever the sum of the output is: a softmax always adds
up to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from latency.measurement.protocol import MeasurementSettings

if TYPE_CHECKING:
    import numpy as np

SIGNS = 8
SUMS = SIGNS + 2
"""Sums for each output."""
# Elements at a time, so that they stay in the processor's cache.
_CHUNK = 1 << 15

Numbers = Literal["fp32", "fp16", "quantised"]
"""What a model computes in: the coarsest kind of number decides how far two correct engines may differ."""

_QUANTISED_OPERATORS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
_QUANTISED_PREFIXES = ("QLinear", "QGemm", "QAttention", "DynamicQuantize", "MatMulNBits")


@dataclass(frozen=True)
class OutputCheck:
    """How a phone's outputs were compared with this host's."""

    numbers: str
    """What the model computes in: `fp32`, `fp16` or `quantised`."""
    tolerance: float
    """Largest accepted difference for these numbers, as a share of the output."""
    difference: float | None
    """The difference that was found; None if nothing could be compared."""
    compared: bool
    """Whether there was anything to compare. An output without numbers, of zeros only or without a finite element
    tells nothing: the record then rests on the hash of the model alone."""


def output_sums(outputs: Iterable[object]) -> tuple[float, ...]:
    """Return the sums of the outputs that hold numbers."""
    import numpy as np

    sums: list[float] = []
    for output in outputs:
        if isinstance(output, np.ndarray) and output.dtype.kind in "fiub":
            sums += _sums(output)
    return tuple(sums)


def _sums(output: np.ndarray[Any, Any]) -> list[float]:
    import numpy as np

    sums = np.zeros(SUMS)
    flat = output.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, flat.size, _CHUNK):
            sums += _sums_of_chunk(flat[start : start + _CHUNK].astype(np.float64), start)
    return [each if math.isfinite(each) else 0.0 for each in sums.tolist()]  # Too large for a double.


def _sums_of_chunk(values: np.ndarray[Any, Any], start: int) -> np.ndarray[Any, Any]:
    """Return the sums over elements whose first one has the place `start`."""
    import numpy as np

    place = np.arange(start + 1, start + 1 + values.size, dtype=np.uint64).astype(np.uint32)
    place = (place ^ (place >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    place = (place ^ (place >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    place ^= place >> np.uint32(16)
    other = 0.0
    if not (finite := np.isfinite(values)).all():
        kinds = np.where(np.isnan(values), 1.0, np.where(values > 0, 2.0, 3.0))
        other = float((kinds * (1.0 + (place & np.uint32(0xFFFF))))[~finite].sum())
        values = np.where(finite, values, 0.0)
    total = values.sum()
    signed = [
        2.0 * (values @ (place >> np.uint32(31 - number) & np.uint32(1)).astype(np.float64)) - total
        for number in range(SIGNS)
    ]
    return np.array([values @ values, *signed, other])


def difference(found: Sequence[float], expected: Sequence[float]) -> float | None:
    """Return the largest difference between two machines' outputs, each as a share of the expected output.

    Returns:
        None if there is nothing to compare: no numbers, only zeros, or no finite elements on both sides.
    """
    if len(found) != len(expected) or len(expected) % SUMS:
        return math.inf
    differences = [
        _difference(found[start : start + SUMS], expected[start : start + SUMS])
        for start in range(0, len(expected), SUMS)
    ]
    known = [each for each in differences if each is not None]
    return max(known) if known else None


def _difference(found: Sequence[float], expected: Sequence[float]) -> float | None:
    if not math.isclose(found[-1], expected[-1], rel_tol=1e-9):
        return math.inf
    size = math.sqrt(max(found[0], expected[0]))
    if size == 0:
        return None
    signed = zip(found[1:-1], expected[1:-1], strict=True)
    apart = math.sqrt(sum((ours - theirs) ** 2 for ours, theirs in signed) / SIGNS)
    # Two outputs differ at least by the difference of their sizes.
    apart = max(apart, abs(math.sqrt(max(found[0], 0.0)) - math.sqrt(max(expected[0], 0.0))))
    return apart / size if math.isfinite(apart / size) else math.inf


def numbers_of(model: bytes) -> Numbers:
    """Return what a model computes in, by its operators and the types of its tensors; `fp32` if it cannot be read."""
    # Here, because it takes 0.2 s to load.
    import onnx

    try:
        graph = onnx.load_model_from_string(model).graph
    except Exception:  # of protobuf: the engine will say what is wrong
        return "fp32"
    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    found: Numbers = "fp32"
    pending = [graph]
    while pending:
        graph = pending.pop()
        types = [initializer.data_type for initializer in graph.initializer]
        types += [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)]
        for node in graph.node:
            if node.op_type in _QUANTISED_OPERATORS or node.op_type.startswith(_QUANTISED_PREFIXES):
                return "quantised"
            types += [attribute.i for attribute in node.attribute if (node.op_type, attribute.name) == ("Cast", "to")]
            types += [attribute.t.data_type for attribute in node.attribute if attribute.HasField("t")]
            pending += [attribute.g for attribute in node.attribute if attribute.HasField("g")]
            pending += [each for attribute in node.attribute for each in attribute.graphs]
        if half.intersection(types):
            found = "fp16"
    return found


def tolerance(numbers: Numbers, settings: MeasurementSettings) -> float:
    """Return the largest accepted difference for a model of these numbers."""
    return {
        "fp32": settings.checksum_tolerance,
        "fp16": settings.half_tolerance,
        "quantised": settings.quantised_tolerance,
    }[numbers]


def check_output(
    found: Sequence[float], expected: Sequence[float], numbers: Numbers, settings: MeasurementSettings
) -> tuple[bool, OutputCheck]:
    """Return whether a phone's outputs are this host's, and how they were compared.

    Args:
        found: The phone's sums.
        expected: This host's sums.
        numbers: What the model computes in.
        settings: The measurement protocol, with the tolerances.
    """
    limit = tolerance(numbers, settings)
    apart = difference(found, expected)
    if apart is None:
        return True, OutputCheck(numbers, limit, None, compared=False)
    # A record holds finite numbers; anything above 100% is as wrong as it gets.
    return apart <= limit, OutputCheck(numbers, limit, min(apart, 1e9), compared=True)
