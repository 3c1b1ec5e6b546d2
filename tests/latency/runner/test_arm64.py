"""The runtime for arm64 phones under qemu: that it computes the right thing; its times mean nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latency.host.runner import LoadedModel
from latency.runtime import RuntimeBundle

Start = Callable[..., dict[str, Any]]


def test_an_arm64_session_gives_the_hosts_checksums(
    start: Start,
    emulator: str,
    bundle_for: Callable[[str], RuntimeBundle],
    reference_path: Path,
    dynamic_batch_model: bytes,
    tmp_path: Path,
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(dynamic_batch_model)
    core = max(os.sched_getaffinity(0))
    few = ["--warmup-runs", "1", "--warmup-min-ms", "0", "--rewarm-min-ms", "0", "--reference-runs", "1", "--runs", "3"]
    arguments = ["--cpu", str(core), "--reference", str(reference_path), *few, str(model)]
    bundle = bundle_for("arm64-v8a")
    answer = start(bundle.folder, [emulator, *bundle.command(arguments)])
    assert answer["ok"]
    assert len(answer["wall_ms"]) == 3
    assert answer["affinity"] == [core]
    assert answer["output_checksum"] == pytest.approx(LoadedModel(dynamic_batch_model).first_run()[1], rel=1e-5)
    assert answer["reference_checksum"] == pytest.approx(
        LoadedModel(reference_path.read_bytes()).first_run()[1], rel=1e-5
    )


def test_an_arm64_failure_is_reported(
    start: Start,
    emulator: str,
    bundle_for: Callable[[str], RuntimeBundle],
    reference_path: Path,
    integer_input_model: bytes,
    tmp_path: Path,
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(integer_input_model)
    arguments = ["--cpu", str(max(os.sched_getaffinity(0))), "--reference", str(reference_path), str(model)]
    bundle = bundle_for("arm64-v8a")
    assert start(bundle.folder, [emulator, *bundle.command(arguments)])["stage"] == "inputs"
