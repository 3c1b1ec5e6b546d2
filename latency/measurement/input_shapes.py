"""The shapes of a model's inputs: which are taken, and which must be given.

A model may leave dimensions open. A leading batch is 1 on a phone. Any other open dimension decides how much work a run
is, so it is not guessed: a network for images of 224 x 224 takes ten thousand times as long as for 1 x 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

Shapes = Mapping[str, Sequence[int]]
"""Sizes of inputs by name."""

# What exporters and people call a batch. Any other name of a leading dimension is taken for one too, unless it says
# that it is something else.
_BATCH = re.compile(r"batch|^(n|b|bs|none|)$", re.IGNORECASE)
_NO_BATCH = re.compile(
    r"seq|len|time|step|frame|token|height|width|point|node|edge|word|sample_?rate|^(h|w|t|l|s)$", re.IGNORECASE
)


class OpenShapeError(ValueError):
    """A dimension of an input is open, and it is not a batch."""


def resolve_shape(name: str, dimensions: Sequence[int | str | None]) -> tuple[int, ...]:
    """Return the shape that an input is timed with.

    Args:
        name: Name of the input.
        dimensions: Its dimensions as the model declares them: a number, or a name or None if it is open.

    Raises:
        OpenShapeError: A dimension is open and is not a leading batch, or is 0.
    """
    shape = []
    for place, size in enumerate(dimensions):
        if isinstance(size, int) and size > 0:
            shape.append(size)
        elif isinstance(size, int) and size == 0:
            raise OpenShapeError(f"input {name!r} has no elements: its dimension {place} is 0")
        elif place == 0 and _is_batch("" if not isinstance(size, str) else size, len(dimensions)):
            shape.append(1)
        else:
            called = f" ({size})" if isinstance(size, str) and size else ""
            example = ",".join(_example(place, each) for place, each in enumerate(dimensions))
            raise OpenShapeError(
                f"input {name!r}: its dimension {place}{called} is not fixed, and how long a run takes depends on it; "
                f"give the shape: --shape {name}={example} (in Python: shapes={{{name!r}: [...]}})"
            )
    return tuple(shape)


def _is_batch(name: str, rank: int) -> bool:
    if rank == 1 and not _BATCH.search(name or "?"):
        return False  # A vector of open length is data, not a batch of scalars.
    return _BATCH.search(name) is not None or _NO_BATCH.search(name) is None


def _example(place: int, size: int | str | None) -> str:
    if isinstance(size, int) and size > 0:
        return str(size)
    if place == 0 and (not isinstance(size, str) or _NO_BATCH.search(size) is None):
        return "1"
    return re.sub(r"\W", "_", size).upper() if isinstance(size, str) and size else "SIZE"


def with_shapes(model: bytes, shapes: Shapes) -> bytes:
    """Return the ONNX model with these input shapes written into it.

    The bytes differ from the file's, and so does the hash that the measurement is kept under: another shape is another
    network to a phone.

    Raises:
        ValueError: The model cannot be read, has no such input, or declares other sizes for it.
    """
    if not shapes:
        return model
    parsed = _parsed(model)
    inputs = _inputs(parsed)
    for name, shape in shapes.items():
        if name not in inputs:
            raise ValueError(f"the model has no input {name!r}; it has {', '.join(map(repr, inputs)) or 'none'}")
        if not all(type(size) is int and size > 0 for size in shape):
            raise ValueError(f"shape of input {name!r} is {list(shape)}; sizes are whole numbers above 0")
        tensor = inputs[name].type.tensor_type
        declared = tensor.shape.dim
        if tensor.HasField("shape") and len(declared) != len(shape):
            raise ValueError(f"input {name!r} has {len(declared)} dimensions; {len(shape)} are given")
        for place, (dimension, size) in enumerate(zip(declared, shape, strict=False)):
            if dimension.HasField("dim_value") and dimension.dim_value not in (size, 0, -1):
                raise ValueError(
                    f"input {name!r}: its dimension {place} is fixed at {dimension.dim_value}; {size} is given"
                )
        del declared[:]
        for size in shape:
            declared.add().dim_value = size
    return bytes(parsed.SerializeToString())


def open_inputs(model: bytes) -> set[str]:
    """Return the names of the inputs that leave a dimension open.

    Raises:
        ValueError: The model cannot be read.
    """
    return {
        name
        for name, value in _inputs(_parsed(model)).items()
        if any(dimension.dim_value <= 0 for dimension in value.type.tensor_type.shape.dim)
    }


def _parsed(model: bytes) -> ModelProto:
    # Here, because it takes 0.2 s to load.
    import onnx

    try:
        return onnx.load_model_from_string(model)
    except Exception as error:  # of protobuf, which has no base class of its own
        raise ValueError(f"not an ONNX model: {error}") from error


def _inputs(model: ModelProto) -> dict[str, ValueInfoProto]:
    """Return the inputs by name, without the weights that older files list among them."""
    weights = {initializer.name for initializer in model.graph.initializer}
    return {each.name: each for each in model.graph.input if each.name not in weights}


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the name and the sizes in `input=1,3,224,224`.

    Raises:
        ValueError: The text is not of that form.
    """
    name, equals, sizes = text.rpartition("=")
    parts = re.split(r"[,x]", sizes)
    if not equals or not name or not all(part.strip().isdecimal() and 0 < int(part) < 2**31 for part in parts):
        raise ValueError(f"{text!r} is not INPUT=SIZES, as in input=1,3,224,224")
    return name, tuple(int(part) for part in parts)
