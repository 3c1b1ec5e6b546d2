"""The variant for Android's own C library, on a stand-in for that library; bionic itself cannot be had here.

What this shows: the program starts through bionic's entry, takes nothing but the functions it names from the phone, and
times as the other variant does. What only a phone can show: that bionic's loader takes the file.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latency.errors import ToolError
from latency.host.runner import LoadedModel
from latency.runtime import RuntimeBundle
from tools.build_phone_runner import prebuilt
from tools.c_compiler import check_compiler

Start = Callable[..., dict[str, Any]]

STAND_IN = """
#include <errno.h>
#include <stdlib.h>
int *__errno(void) { return &errno; }
void __libc_init(void *arguments, void (*on_exit)(void), int (*program)(int, char **), void *const *constructors) {
    exit(program(*(int *)arguments, (char **)arguments + 1));
}
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libc.so, libm.so and libdl.so: bionic's entry, everything else from glibc."""
    try:
        check_compiler()
    except ToolError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("bionic")
    for library, source in {"libc": STAND_IN, "libm": "", "libdl": ""}.items():
        (folder / f"{library}.c").write_text(source)
        compiler = [sys.executable, "-m", "ziglang", "cc", "-target", f"{platform.machine()}-linux-gnu.2.28"]
        command = [*compiler, "-shared", "-fPIC", f"-Wl,-soname,{library}.so", "-o", f"{library}.so", f"{library}.c"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def test_it_gives_the_hosts_checksum_when_started_as_bionic_starts_it(
    start: Start, stand_in: Path, bundle: RuntimeBundle, reference_path: Path, tiny_model: bytes, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_model)
    runner = prebuilt(bundle.abi, "mnas_runner_bionic")
    prefix = (f"./{bundle.loader}", "--preload", "libm.so.6", "--library-path", f".:{stand_in}", str(runner))
    core = str(max(os.sched_getaffinity(0)))
    arguments = ["--lib", "./libonnxruntime.so", "--cpu", core, "--reference", str(reference_path), "--runs", "3"]
    answer = start(bundle.folder, [*prefix, *arguments, "--warmup-min-ms", "0", str(model)])
    assert answer["ok"]
    assert answer["output_checksum"] == pytest.approx(LoadedModel(tiny_model).first_run()[1], rel=1e-5)


def test_its_errors_have_the_systems_text(
    start: Start, stand_in: Path, bundle: RuntimeBundle, reference_path: Path
) -> None:
    runner = prebuilt(bundle.abi, "mnas_runner_bionic")
    prefix = (f"./{bundle.loader}", "--preload", "libm.so.6", "--library-path", f".:{stand_in}", str(runner))
    arguments = ["--lib", "./libonnxruntime.so", "--cpu", "1023", "--reference", str(reference_path), "x.onnx"]
    assert "Invalid argument" in start(bundle.folder, [*prefix, *arguments])["error"]
