"""Models that ask for more memory than a phone has: found by the sizes in the graph, before any engine sees them."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from latency.errors import CandidateError

MAX_ELEMENTS = 2**28
"""Elements of one tensor: 1 GiB of float32. A network for phones stays far below."""


def check_model(model: bytes) -> None:
    """Refuse a model with a tensor of more than `MAX_ELEMENTS`; unknown sizes count as 1.

    Whether it is a valid model is for the engine to say.

    Raises:
        CandidateError: `model_rejected`: a tensor is too large.
    """
    for name, elements in _tensors(model):
        if not 0 <= elements <= MAX_ELEMENTS:
            raise CandidateError(
                "model_rejected",
                f"tensor {name!r} of the model has {elements:.3g} elements; a model with a tensor of more than "
                f"{MAX_ELEMENTS:,} elements is not measured: use smaller inputs or layers",
                "inputs",
            )


def _tensors(model: bytes) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of elements of every tensor whose size the file tells."""
    # Here, because it takes 0.2 s to load.
    import onnx

    try:
        parsed = onnx.load_model_from_string(model)
    except Exception:  # of protobuf: the engine will say what is wrong
        return
    graph = parsed.graph
    for initializer in graph.initializer:
        yield initializer.name, prod(initializer.dims)
    yield from _values(graph)
    try:
        yield from _values(onnx.shape_inference.infer_shapes(parsed, data_prop=True).graph)
    except Exception:  # of onnx's C++: as above
        return


def _values(graph: object) -> Iterator[tuple[str, int]]:
    for kind in ("input", "output", "value_info"):
        for value in getattr(graph, kind):
            sizes = (dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
            yield value.name, prod(size if size > 0 else 1 for size in sizes)
