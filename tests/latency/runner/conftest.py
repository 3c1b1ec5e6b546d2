from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latency.downloads import debian_packages, read_debian_packages, unpack_debian_package
from latency.errors import ToolError
from latency.measurement.reference_network import reference_model
from latency.runtime import RuntimeBundle, prepare_bundle

Answer = dict[str, Any]
PACKAGES = Path(__file__).parents[1] / "qemu_packages.yaml"
QUICK = ("--warmup-runs", "2", "--warmup-min-ms", "0", "--rewarm-min-ms", "0", "--reference-runs", "3", "--runs", "5")


@pytest.fixture(scope="session")
def bundle_for() -> Callable[[str], RuntimeBundle]:
    """The runtime for an ABI; the test is skipped if it cannot be had."""

    def bundle_for(abi: str) -> RuntimeBundle:
        try:
            return prepare_bundle(abi)
        except ToolError as error:
            pytest.skip(f"needs the runtime for {abi}: {error}")

    return bundle_for


@pytest.fixture(scope="session")
def bundle(bundle_for: Callable[[str], RuntimeBundle]) -> RuntimeBundle:
    """The runtime that this machine's processor runs."""
    return bundle_for({"aarch64": "arm64-v8a"}.get(platform.machine(), platform.machine()))


@pytest.fixture(scope="session")
def reference_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "reference.onnx"
    path.write_bytes(reference_model())
    return path


@pytest.fixture(scope="session")
def start() -> Callable[..., Answer]:
    """Run a runner's command in a folder and read its answer.

    Asserts that it is one line, and that the exit status says the same as the line.
    """

    def start(folder: Path, command: list[str]) -> Answer:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.stdout.count("\n") == 1, done
        answer: Answer = json.loads(done.stdout)
        assert answer["schema"] == 1
        assert done.returncode == (0 if answer["ok"] else 3)
        return answer

    return start


@pytest.fixture
def ask(
    start: Callable[..., Answer], bundle: RuntimeBundle, reference_path: Path, tmp_path: Path
) -> Callable[..., Answer]:
    """Run the runner quickly on a model's bytes (or none) with further arguments; later ones win."""

    def ask(model: bytes | None, *arguments: str) -> Answer:
        core = max(os.sched_getaffinity(0))
        words = ["--cpu", str(core), "--reference", str(reference_path), *QUICK, *arguments]
        if model is not None:
            path = tmp_path / "model.onnx"
            path.write_bytes(model)
            words.append(str(path))
        return start(bundle.folder, bundle.command(words))

    return ask


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> str:
    """qemu for arm64 programs."""
    if platform.machine() != "x86_64":
        pytest.skip("the pinned emulator is for x86_64")
    folder = tmp_path_factory.mktemp("qemu")
    try:
        for package in debian_packages(read_debian_packages(PACKAGES)):
            unpack_debian_package(package, folder)
    except ToolError as error:
        pytest.skip(f"needs qemu: {error}")
    return str(folder / "usr" / "bin" / "qemu-aarch64")
