"""The kernels for 64-bit Arm, under qemu, against the committed library: that they compute the same."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latency.errors import ToolError
from mnas.kernels.library import LIBRARY, machine_has_kernels
from mnas.kernels.program import Kind, Program, ProgramLayer, program_of
from search_space import SearchSpace, lower
from search_space.lowering import (
    Activation,
    AveragePool,
    BatchNorm,
    Convolution,
    Dense,
    FitChannels,
    GlobalAveragePool,
    Layer,
    SqueezeExcite,
)
from tools.build_kernels import FLAGS
from tools.c_compiler import check_compiler, compile_c

pytestmark = pytest.mark.skipif(not machine_has_kernels(), reason="the kernels are not compiled for this machine")

Tensors = dict[str, NDArray[Any]]
TARGET = ("-target", "aarch64-linux-gnu.2.17")
LINKER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
DRIVER = Path(__file__).with_name("driver.c")
SOURCES = LIBRARY.parents[1]
FORTH = ("images", "weights", "statistics", "layers", "rule", "mask", "y", "workspace")
BACK = ("weights", "layers", "rule", "mask", "workspace", "dy", "dweights", "dimages", "memory")
WRITTEN = ("statistics", "y", "dweights", "dimages")
"""The orders of driver.c."""
LAYERS: dict[str, tuple[Layer, int, int]] = {
    "convolution": (Convolution("c", 9, 20, 3, 1, 1, 7), 9, 7),
    "convolution of stride 2": (Convolution("c", 3, 16, 5, 2, 1, 5), 3, 9),
    "pointwise convolution": (Convolution("c", 27, 30, 1, 1, 1, 2), 27, 2),
    "depthwise convolution": (Convolution("c", 13, 13, 5, 1, 13, 9), 13, 9),
    "depthwise convolution of stride 2": (Convolution("c", 13, 13, 3, 2, 13, 4), 13, 7),
    "batch norm": (BatchNorm("n", 12), 12, 5),
    "squeeze-and-excite": (SqueezeExcite("s", 12, 4), 12, 4),
    "average pool": (AveragePool(3, 2, 11, 4), 11, 7),
    "fewer channels": (FitChannels(12, 3), 12, 3),
    "global average pool": (GlobalAveragePool(10), 10, 4),
    "dense": (Dense("d", 18, 7), 18, 1),
}
NETWORK = "network"


def tensors_of(name: str) -> Tensors:
    """The inputs of a layer or of the network, drawn at random, and its outputs, all zero."""
    images = 3
    if name == NETWORK:
        space = SearchSpace.load("small32")
        program = program_of(lower(space.decode(space.sample(np.random.default_rng(0))), image_size=16, num_classes=10))
        assert program is not None
    else:
        layer, channels, size = LAYERS[name]
        program = Program([ProgramLayer(Kind.INPUT, 0, 0, channels, size)])
        program.add(layer, 0, Activation("relu6") if isinstance(layer, BatchNorm) else None)
    generator = np.random.default_rng(1)

    def drawn(*shape: int) -> NDArray[np.float32]:
        return generator.uniform(-1, 1, shape).astype(np.float32)

    def zeros(*shape: int) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    masks = [layer.channels for layer in program.layers if layer.kind == Kind.MASK]
    return {
        "images": drawn(*program.input_shape(images)),
        "weights": drawn(max(1, program.weights)),
        "statistics": drawn(max(1, program.statistics)),
        "layers": program.table(),
        "rule": np.array([1e-3, 0.1], np.float32),
        "mask": drawn(images, *masks) if masks else zeros(1),
        "dy": drawn(*program.output_shape(images)),
        "y": zeros(*program.output_shape(images)),
        "workspace": zeros(program.workspace_floats(images)),
        "dweights": zeros(max(1, program.weights)),
        "dimages": zeros(*program.input_shape(images)),
        "memory": zeros(program.gradient_floats(images)),
    }


@pytest.fixture(scope="module")
def on_arm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensors]:
    """What the kernels for Arm write, by layer."""
    program = _compile(tmp_path_factory.mktemp("aarch64"))
    given = {name: tensors_of(name) for name in (*LAYERS, NETWORK)}
    request = struct.pack("<q", len(given)) + b"".join(
        struct.pack(f"<{1 + tensor.ndim}q", tensor.ndim, *tensor.shape) + tensor.tobytes()
        for tensors in given.values()
        for tensor in tensors.values()
    )
    done = subprocess.run([EMULATOR, str(program)], input=request, capture_output=True, check=True)
    values = np.frombuffer(done.stdout, np.float32)
    results: dict[str, Tensors] = {name: {} for name in given}
    for name, tensors in given.items():
        for key in WRITTEN:
            results[name][key], values = np.split(values, [tensors[key].size])
    assert values.size == 0
    return results


def _compile(folder: Path) -> Path:
    """Compile the kernels with the flags of the committed library, and link a program that runs them."""
    for program, package in ((LINKER, "gcc-aarch64-linux-gnu"), (EMULATOR, "qemu-user")):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt install {package}")
    try:
        check_compiler()
    except ToolError as error:
        pytest.skip(f"needs the pinned compiler: {error}")

    def compile_one(source: Path) -> str:
        compiled = str(folder / f"{source.stem}.o")
        compile_c([*TARGET, *FLAGS, "-c", source.name, "-o", compiled], SOURCES)
        return compiled

    with ThreadPoolExecutor(2) as threads:
        objects = list(threads.map(compile_one, SOURCES.glob("*.c")))
    linked = folder / "driver"
    subprocess.run([LINKER, "-static", f"-I{SOURCES}", str(DRIVER), *objects, "-lm", "-o", str(linked)], check=True)
    return linked


def _call_here(name: str, tensors: Tensors, order: tuple[str, ...]) -> None:
    """Call an operator of the committed library."""
    arrays = [tensors[key] for key in order]
    shapes = [(ctypes.c_int64 * array.ndim)(*array.shape) for array in arrays]
    status = ctypes.CDLL(str(LIBRARY))[name](
        len(arrays),
        (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays)),
        (ctypes.c_int * len(arrays))(*(array.ndim for array in arrays)),
        (ctypes.c_void_p * len(arrays))(*(ctypes.addressof(shape) for shape in shapes)),
        *(None, None, None),
    )
    assert status == 0


@pytest.mark.parametrize("name", [*LAYERS, NETWORK])
def test_a_layer_computes_the_same_on_arm(name: str, on_arm: dict[str, Tensors]) -> None:
    tensors = tensors_of(name)
    _call_here("network", tensors, FORTH)
    _call_here("network_gradients", tensors, BACK)
    for key in WRITTEN:
        expected = tensors[key].ravel()
        np.testing.assert_allclose(on_arm[name][key], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert tensors["dimages"].any()
