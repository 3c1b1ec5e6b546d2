"""The variant for Android's own C library: on a stand-in for that library, and on the real one if it is given.

What the stand-in shows: the program starts through bionic's entry, takes nothing but the functions it names from the
phone, and times as the other variant does.

Bionic itself belongs to Android and is not in the repository. The variable MNAS_ANDROID_ROOT names a folder with an
arm64 phone's `system/bin/linker64` and `system/lib64`; the runner then runs under qemu with that loader, those
libraries and ONNX Runtime's official Android build. What only a phone can show: its times.
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
from latency.runtime import RuntimeBundle, prepare_android_bundle
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


ANDROID_ROOT = "MNAS_ANDROID_ROOT"
LINKER = Path("system/bin/linker64")
# ONNX Runtime asks both for the processor's features, and crashes without an answer.
CPUINFO = """\
processor	: 0
BogoMIPS	: 100.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x1
CPU part	: 0xd05
CPU revision	: 0

Hardware	: a phone under qemu
"""


@pytest.fixture(scope="session")
def android_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The given Android, next to a processor for qemu to show; nothing is written into the given folder."""
    given = os.environ.get(ANDROID_ROOT)
    if not given:
        pytest.skip(f"needs a real bionic: {ANDROID_ROOT} names no folder with {LINKER} and system/lib64")
    if not (Path(given) / LINKER).exists():
        pytest.skip(f"{ANDROID_ROOT}: {given} has no {LINKER}")
    root = tmp_path_factory.mktemp("android")
    for entry in Path(given).resolve().iterdir():
        if entry.name not in ("proc", "sys"):
            (root / entry.name).symlink_to(entry)
    cores = root / "sys" / "devices" / "system" / "cpu"
    cores.mkdir(parents=True)
    for name in ("present", "possible", "online"):
        (cores / name).write_text("0\n")
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(CPUINFO)
    return root


def test_it_gives_the_hosts_checksum_on_a_real_bionic(
    start: Start, android_root: Path, emulator: str, reference_path: Path, tiny_model: bytes, tmp_path: Path
) -> None:
    try:
        bundle = prepare_android_bundle("arm64-v8a")
    except ToolError as error:
        pytest.skip(f"needs ONNX Runtime's Android build: {error}")
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_model)
    core = str(max(os.sched_getaffinity(0)))
    few = ("--warmup-runs", "1", "--warmup-min-ms", "0", "--rewarm-min-ms", "0", "--reference-runs", "1", "--runs", "3")
    command = bundle.command(["--cpu", core, "--reference", str(reference_path), *few, str(model)])
    answer = start(bundle.folder, [emulator, "-L", str(android_root), *command])
    assert answer["ok"], answer
    assert answer["engine_version"] == bundle.engine_version
    assert answer["output_checksum"] == pytest.approx(LoadedModel(tiny_model).first_run()[1], rel=1e-5)
