"""Try models of every kind that people have: each is measured, or refused with the right reason, once.

    python -m experiments.benchmarks.model_kinds            # by the host
    python -m experiments.benchmarks.model_kinds --adb      # by an adb daemon on this machine too

The models are small and made here. The verdicts are compared with what is right for each kind, and written as JSON and
as a table; the exit status is 1 if one differs. Only the verdicts count: the protocol's limits are off, so that a busy
machine changes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from latency import CandidateError, LatencyError, MeasurementSettings, PhoneBackend, create_phones
from latency.android.phone import AdbPhone
from latency.loopback import Adbd, check_machine, unpack_adbd
from latency.loopback.phone import phone_profile
from latency.measurement.input_shapes import with_shapes
from latency.measurement.reference_network import reference_model
from latency.pool.model_check import check_model

SETTINGS = MeasurementSettings(
    warmup_runs=2,
    warmup_min_ms=5.0,
    rewarm_min_ms=0.0,
    runs=10,
    contention_limit=10.0,
    relative_mad_limit=1.0,
    switches_per_s_limit=1e6,
    others_busy_limit=1e3,
    drift_limit=1e3,
    faster_limit=1.0,
    calibration_s=0.0,
    session_spread_limit=1e3,
    load_timeout_s=5.0,
    window_timeout_s=20.0,
)
MEASURED = "measured"
FLOAT, HALF, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64
Dimensions = Sequence[int | str | None]
IMAGE: Dimensions = [1, 3, 16, 16]


@dataclass(frozen=True)
class Kind:
    """A kind of model, and what is right for it: `measured`, or a part of the reason for which it is refused."""

    name: str
    make: Callable[[], bytes]
    right: str
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What became of a model on a phone."""

    kind: str
    phone: str
    verdict: str
    latency_ms: float | None
    inputs: Mapping[str, Sequence[int]]
    flags: Sequence[str]
    seconds: float
    right: bool


def value(name: str, dimensions: Dimensions | None, kind: int = FLOAT) -> Any:
    """Return the declaration of an input or output."""
    return helper.make_tensor_value_info(name, kind, None if dimensions is None else list(dimensions))


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> bytes:
    """Return an ONNX model."""
    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), initializers)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString())


def node(operator: str, *names: str, outputs: Sequence[str] = ("y",), **attributes: Any) -> Any:
    """Return a node; its output is `y` unless told otherwise."""
    return helper.make_node(operator, list(names), list(outputs), **attributes)


def unary(operator: str, dimensions: Dimensions, kind: int = FLOAT, **attributes: Any) -> Callable[[], bytes]:
    """Return what makes a model of one operator."""
    return lambda: model([node(operator, "x", **attributes)], [value("x", dimensions, kind)], [value("y", None, kind)])


def convolution(dimensions: Dimensions, kind: Any = np.float32) -> Callable[[], bytes]:
    """Return what makes a convolution to 8 channels."""
    weight = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(kind)
    element = HALF if kind is np.float16 else FLOAT

    def make() -> bytes:
        nodes = [node("Conv", "x", "w", pads=[1, 1, 1, 1])]
        return model(nodes, [value("x", dimensions, element)], [value("y", None, element)], {"w": weight})

    return make


def half_inside() -> bytes:
    """Return float16 arithmetic between float32 inputs and outputs."""
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float16)
    nodes = [
        node("Cast", "x", outputs=["h"], to=HALF),
        node("MatMul", "h", "w", outputs=["m"]),
        node("Cast", "m", to=FLOAT),
    ]
    return model(nodes, [value("x", [1, 64])], [value("y", [1, 64])], {"w": weight})


def dynamically_quantised() -> bytes:
    """Return a matrix product of int8 weights and activations that are quantised as they come."""
    weight = np.random.default_rng(0).integers(-127, 127, size=(64, 64)).astype(np.int8)
    nodes = [
        node("DynamicQuantizeLinear", "x", outputs=["q", "scale", "zero"]),
        node("MatMulInteger", "q", "w", "zero", outputs=["m"]),
        node("Cast", "m", outputs=["f"], to=FLOAT),
        node("Mul", "f", "scale"),
    ]
    return model(nodes, [value("x", [1, 64])], [value("y", None)], {"w": weight})


def statically_quantised() -> bytes:
    """Return a quantise / dequantise pair around a convolution."""
    scale, zero = np.array(0.02, np.float32), np.array(128, np.uint8)
    weight = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    nodes = [
        node("QuantizeLinear", "x", "scale", "zero", outputs=["q"]),
        node("DequantizeLinear", "q", "scale", "zero", outputs=["d"]),
        node("Conv", "d", "w", pads=[1, 1, 1, 1]),
    ]
    weights: dict[str, np.ndarray[Any, Any]] = {"scale": scale, "zero": zero, "w": weight}
    return model(nodes, [value("x", [1, 3, 16, 16])], [value("y", None)], weights)


def branch(operators: tuple[str, str]) -> bytes:
    """Return an `If` on the sum of the input."""
    branches = [
        helper.make_graph([node(operator, "x", outputs=[name])], name, [], [value(name, [1, 8])])
        for operator, name in zip(operators, ("then", "else"), strict=True)
    ]
    nodes = [
        node("ReduceSum", "x", outputs=["sum"], keepdims=0),
        node("Greater", "sum", "zero", outputs=["condition"]),
        node("If", "condition", then_branch=branches[0], else_branch=branches[1]),
    ]
    return model(nodes, [value("x", [1, 8])], [value("y", None)], {"zero": np.array(0, np.float32)})


def loop(times: int | None) -> bytes:
    """Return a loop of so many turns, or one that never ends."""
    body = helper.make_graph(
        [
            node("Identity", "go", outputs=["go_on"]),
            node("Add", "state", "state", outputs=["twice"]),
            node("Mul", "twice", "half", outputs=["next"]),
        ],
        "body",
        [value("i", [], INT64), value("go", [], TensorProto.BOOL), value("state", [1, 8])],
        [value("go_on", [], TensorProto.BOOL), value("next", [1, 8])],
        [numpy_helper.from_array(np.array(0.5, np.float32), "half")],
    )
    weights: dict[str, np.ndarray[Any, Any]] = {"true": np.array(True)}
    if times is not None:
        weights["times"] = np.array(times, np.int64)
    turns = "" if times is None else "times"
    nodes = [node("Loop", turns, "true", "x", body=body)]
    return model(nodes, [value("x", [1, 8])], [value("y", None)], weights)


def scan() -> bytes:
    """Return a running sum by `Scan`."""
    body = helper.make_graph(
        [node("Add", "sum", "item", outputs=["next"]), node("Identity", "next", outputs=["copy"])],
        "body",
        [value("sum", [4]), value("item", [4])],
        [value("next", [4]), value("copy", [4])],
    )
    nodes = [node("Scan", "start", "x", outputs=["last", "y"], body=body, num_scan_inputs=1)]
    return model(nodes, [value("x", [5, 4])], [value("y", None)], {"start": np.zeros(4, np.float32)})


def sequence_output() -> bytes:
    """Return a model whose output is a sequence of tensors."""
    outputs = [helper.make_tensor_sequence_value_info("y", FLOAT, None)]
    return model([node("SplitToSequence", "x", axis=0)], [value("x", [3, 4])], outputs)


def sequence_input() -> bytes:
    """Return a model whose input is a sequence of tensors."""
    inputs = [helper.make_tensor_sequence_value_info("x", FLOAT, None)]
    return model([node("ConcatFromSequence", "x", axis=0)], inputs, [value("y", None)])


def string_output() -> bytes:
    """Return a model whose output is text."""
    nodes = [node("Cast", "x", to=TensorProto.STRING)]
    return model(nodes, [value("x", [4])], [value("y", [4], TensorProto.STRING)])


def external_data() -> bytes:
    """Return a model whose weights are in another file."""
    weight = TensorProto(name="w", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="weights.bin")
    graph = helper.make_graph([node("Add", "x", "w")], "graph", [value("x", [4])], [value("y", [4])], [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def weighted(operator: str, dimensions: Dimensions, weight: np.ndarray[Any, Any], **attributes: Any) -> bytes:
    """Return a model of one operator on the input and a weight."""
    nodes = [node(operator, "x", "w", **attributes)]
    return model(nodes, [value("x", dimensions)], [value("y", None)], {"w": weight})


def several_inputs(count: int) -> bytes:
    """Return the sum of so many inputs."""
    names = [f"x{number}" for number in range(count)]
    return model([node("Sum", *names)], [value(name, [1, 16]) for name in names], [value("y", None)])


def no_inputs() -> bytes:
    """Return a constant."""
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "c")
    return model([node("Constant", value=tensor)], [], [value("y", [4])])


def recurrent(dimensions: Dimensions) -> bytes:
    """Return an LSTM, whose first dimension is time."""
    generator = np.random.default_rng(0)
    weights = {
        "w": generator.normal(size=(1, 16, 3)).astype(np.float32),
        "r": generator.normal(size=(1, 16, 4)).astype(np.float32),
    }
    return model([node("LSTM", "x", "w", "r", hidden_size=4)], [value("x", dimensions)], [value("y", None)], weights)


def chain(length: int) -> bytes:
    """Return a deep network of additions."""
    names = ["x", *(f"v{number}" for number in range(length - 1)), "y"]
    nodes = [node("Sin", a, outputs=[b]) for a, b in pairwise(names)]
    return model(nodes, [value("x", [1, 64])], [value("y", None)])


def other_opset() -> bytes:
    """Return a model of an operator set that no engine knows yet."""
    graph = helper.make_graph([node("Neg", "x")], "graph", [value("x", [4])], [value("y", [4])])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 999)], ir_version=8)
    return bytes(made.SerializeToString())


def other_domain() -> bytes:
    """Return a model of an operator of somebody's own."""
    made = helper.make_node("Mine", ["x"], ["y"], domain="my.own")
    graph = helper.make_graph([made], "graph", [value("x", [4])], [value("y", [4])])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my.own", 1)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString())


def cyclic() -> bytes:
    """Return a graph in which two nodes wait for each other."""
    nodes = [node("Neg", "b", outputs=["a"]), node("Neg", "a", outputs=["b"]), node("Add", "x", "b")]
    return model(nodes, [value("x", [4])], [value("y", [4])])


def failing_reshape() -> bytes:
    """Return a graph that loads, and whose inference fails."""
    weights = {"shape": np.array([1, 7])}
    inputs = [value("x", ["batch", 3, 2, 2])]
    return model([node("Reshape", "x", "shape")], inputs, [value("y", None)], weights)


def wrong_rank() -> bytes:
    """Return a model whose output has another rank than it declares."""
    return model([node("Squeeze", "x")], [value("x", ["n", "m", 8])], [value("y", ["m", "c"])])


def huge_weight() -> bytes:
    """Return 76 bytes that ask for gigabytes."""
    nodes = [node("ConstantOfShape", "shape", outputs=["c"]), node("Add", "x", "c")]
    return model(nodes, [value("x", [1])], [value("y", [100_000, 100_000])], {"shape": np.array([100_000, 100_000])})


def top_k() -> bytes:
    """Return the indices of the largest elements."""
    nodes = [node("TopK", "x", "k", outputs=["values", "y"])]
    return model(nodes, [value("x", [1, 100])], [value("y", None, INT64)], {"k": np.array([5], np.int64)})


def non_zero() -> bytes:
    """Return a model whose output's shape depends on the data."""
    return model([node("NonZero", "x")], [value("x", [4, 4])], [value("y", None, INT64)])


def arg_max() -> bytes:
    """Return the class of the largest logit."""
    return model([node("ArgMax", "x", axis=1)], [value("x", [1, 1000])], [value("y", None, INT64)])


def not_a_number() -> bytes:
    """Return zero divided by zero."""
    nodes = [node("Sub", "x", "x", outputs=["zero"]), node("Div", "zero", "zero")]
    return model(nodes, [value("x", [4])], [value("y", [4])])


def zeros() -> bytes:
    """Return a network that always answers zero."""
    return weighted("Mul", [1, 8], np.zeros(8, np.float32))


def large_network() -> bytes:
    """Return a model of 64 MB."""
    return weighted("MatMul", [1, 4096], np.random.default_rng(0).normal(size=(4096, 4096)).astype(np.float32))


def truncated() -> bytes:
    """Return the first half of a file."""
    whole = reference_model()
    return whole[: len(whole) // 2]


def multinomial() -> bytes:
    """Return random draws of classes."""
    outputs = [value("y", None, TensorProto.INT32)]
    return model([node("Multinomial", "x", sample_size=64)], [value("x", [1, 64])], outputs)


def resize() -> bytes:
    """Return an image twice as large."""
    nodes = [node("Resize", "x", "", "scales", mode="linear")]
    return model(nodes, [value("x", IMAGE)], [value("y", None)], {"scales": np.array([1, 1, 2, 2], np.float32)})


def transposed() -> bytes:
    """Return a transposed convolution."""
    weight = np.random.default_rng(0).normal(size=(3, 8, 2, 2)).astype(np.float32)
    return weighted("ConvTranspose", IMAGE, weight, strides=[2, 2])


OPEN: Dimensions = ["batch", 3, "height", "width"]
KINDS = (
    Kind("convolution", convolution(IMAGE), MEASURED),
    Kind("open batch", convolution(["batch", 3, 16, 16]), MEASURED),
    Kind("open batch without a name", convolution([None, 3, 16, 16]), MEASURED),
    Kind("fixed batch of 8", convolution([8, 3, 16, 16]), MEASURED),
    Kind("open height and width", convolution(OPEN), "dimension 2 (height) is not fixed"),
    Kind("open height and width, shape given", convolution(OPEN), MEASURED, {"x": [1, 3, 32, 32]}),
    Kind("all dimensions open", convolution(["a", "b", "c", "d"]), "dimension 1 (b) is not fixed"),
    Kind("open sequence length", unary("Neg", ["batch", "sequence", 8]), "dimension 1 (sequence) is not fixed"),
    Kind("time first, open", lambda: recurrent(["seq_len", 1, 3]), "dimension 0 (seq_len) is not fixed"),
    Kind("time first, shape given", lambda: recurrent(["seq_len", 1, 3]), MEASURED, {"x": [10, 1, 3]}),
    Kind("vector of open length", unary("Neg", ["length"]), "dimension 0 (length) is not fixed"),
    Kind("shape given for a fixed size", convolution(IMAGE), "fixed at 16; 32 is given", {"x": [1, 3, 32, 32]}),
    Kind("shape given for no input", convolution(IMAGE), "has no input 'images'", {"images": [1, 3, 16, 16]}),
    Kind("input without elements", unary("Neg", [1, 0, 4]), "its dimension 1 is 0"),
    Kind("scalar input", unary("Neg", []), MEASURED),
    Kind("no input", no_inputs, MEASURED),
    Kind("one hundred inputs", lambda: several_inputs(100), MEASURED),
    Kind("integer input", unary("Neg", [1, 8], INT64), "only tensor(float) can be timed"),
    Kind("byte input", unary("Identity", [1, 8], TensorProto.UINT8), "only tensor(float) can be timed"),
    Kind("half input", convolution(IMAGE, np.float16), "only tensor(float) can be timed"),
    Kind("double input", unary("Neg", [1, 8], TensorProto.DOUBLE), "only tensor(float) can be timed"),
    Kind("text input", unary("Identity", [4], TensorProto.STRING), "only tensor(float) can be timed"),
    Kind("sequence input", sequence_input, "only tensor(float) can be timed"),
    Kind("softmax", unary("Softmax", [1, 1000]), MEASURED),
    Kind("class by argmax", arg_max, MEASURED),
    Kind("indices by top-k", top_k, MEASURED),
    Kind("output shape by the data", non_zero, MEASURED),
    Kind("output is zero", zeros, MEASURED),
    Kind("output is NaN", not_a_number, MEASURED),
    Kind("output is text", string_output, MEASURED),
    Kind("output is a sequence", sequence_output, MEASURED),
    Kind("output of another rank, open", wrong_rank, "dimension 1 (m) is not fixed"),
    Kind("output of another rank, shape given", wrong_rank, MEASURED, {"x": [1, 1, 8]}),
    Kind("float16 inside", half_inside, MEASURED),
    Kind("int8, quantised as it comes", dynamically_quantised, MEASURED),
    Kind("int8, quantised before", statically_quantised, MEASURED),
    Kind("branches", lambda: branch(("Neg", "Abs")), MEASURED),
    Kind("loop of 10", lambda: loop(10), MEASURED),
    Kind("loop without end", lambda: loop(None), "does not end"),
    Kind("scan", scan, MEASURED),
    Kind("LSTM", lambda: recurrent([10, 1, 3]), MEASURED),
    Kind("random normal", unary("RandomNormalLike", [1, 64]), "differs from run to run"),
    Kind("random uniform, seeded", unary("RandomUniformLike", [1, 64], seed=7.0), "differs from run to run"),
    Kind("multinomial", multinomial, "differs from run to run"),
    Kind("sine 200 deep", lambda: chain(200), MEASURED),
    Kind("resize", resize, MEASURED),
    Kind("transposed convolution", transposed, MEASURED),
    Kind("64 MB of weights", large_network, MEASURED),
    Kind("gigabytes in 76 bytes", huge_weight, "elements is not measured"),
    Kind("weights in another file", external_data, "External data"),
    Kind("inference that fails", failing_reshape, "Reshape"),
    Kind("cycle", cyclic, "stage 'load'"),
    Kind("operator set 999", other_opset, "opset"),
    Kind("operator of one's own", other_domain, "Mine"),
    Kind("operator that is misspelt", unary("Convv", IMAGE), "Convv"),
    Kind("empty file", lambda: b"", "stage 'load'"),
    Kind("text file", lambda: b"this is no model", "stage 'load'"),
    Kind("truncated file", truncated, "stage 'load'"),
)


def try_model(kind: Kind, phone: PhoneBackend) -> Verdict:
    """Measure a model of a kind, as `mnas phones measure` does."""
    started = time.monotonic()
    latency_ms: float | None = None
    inputs: dict[str, Sequence[int]] = {}
    flags: tuple[str, ...] = ()
    try:
        onnx = with_shapes(kind.make(), kind.shapes)
        check_model(onnx)
        record = phone.measure(onnx, SETTINGS)
        latency_ms, inputs, flags = record.latency_ms, dict(record.input_shapes), record.flags
        verdict = MEASURED
    except (CandidateError, ValueError) as error:
        verdict = f"refused: {' '.join(str(error).split())}"
    except LatencyError as error:
        verdict = f"not the model's fault ({error.kind}): {error}"
    right = verdict == MEASURED if kind.right == MEASURED else verdict.startswith("refused") and kind.right in verdict
    verdict = verdict.replace(os.getcwd(), "")[:300]
    seconds = round(time.monotonic() - started, 2)
    return Verdict(kind.name, phone.name, verdict, latency_ms, inputs, list(flags), seconds, right)


@contextmanager
def phones(adb: bool) -> Iterator[list[PhoneBackend]]:
    """Yield the host, and an adb daemon on it if asked for."""
    with ExitStack() as stack:
        made: list[PhoneBackend] = create_phones("host")
        if adb:
            check_machine()
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mnas-kinds-")))
            root = folder / "debian"
            root.mkdir()
            unpack_adbd(root)
            os.environ["MNAS_PHONES"] = str(folder / "profiles")
            made.append(AdbPhone(*phone_profile(stack.enter_context(Adbd(root, folder / "phone")))))
        for phone in made:
            stack.callback(phone.close)
        yield made


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as Markdown."""
    lines = ["| kind | phone | verdict | s |", "|---|---|---|---|"]
    for each in verdicts:
        words = each.verdict if each.latency_ms is None else f"{each.latency_ms:.4f} ms"
        words += "".join(f"; {flag}" for flag in each.flags)
        mark = "" if each.right else "**wrong**: "
        lines.append(f"| {each.kind} | {each.phone} | {mark}{words.replace('|', chr(92) + '|')} | {each.seconds:g} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Try all kinds; return 1 if a verdict is not the right one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adb", action="store_true", help="by an adb daemon on this machine too")
    parser.add_argument("--out", type=Path, help="folder for model_kinds.json and .md (default: print only)")
    arguments = parser.parse_args()
    verdicts: list[Verdict] = []
    with phones(arguments.adb) as made:
        for kind in KINDS:
            for phone in made:
                verdicts.append(try_model(kind, phone))
                print(f"{kind.name}: {phone.name}: {verdicts[-1].verdict[:120]}", file=sys.stderr)
    print(table(verdicts))
    wrong = sum(not each.right for each in verdicts)
    print(f"{len(KINDS)} kinds, {len(verdicts)} verdicts, {wrong} wrong")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        content = [asdict(each) for each in verdicts]
        (arguments.out / "model_kinds.json").write_text(json.dumps(content, indent=1) + "\n")
        (arguments.out / "model_kinds.md").write_text(table(verdicts))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
