from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latency.errors import ToolError
from tools import build_phone_runner
from tools.c_compiler import ZIGLANG_VERSION, check_compiler


def test_the_committed_binaries_are_what_the_sources_give(tmp_path: Path) -> None:
    try:
        build_phone_runner.build(tmp_path)
    except ToolError as error:
        if error.kind == "build_failed":
            raise
        pytest.skip(f"needs the pinned compiler and header: {error}")
    assert build_phone_runner.differing(tmp_path) == []


def test_another_binary_differs(tmp_path: Path) -> None:
    for abi in build_phone_runner.ARCHITECTURES:
        shutil.copytree(build_phone_runner.prebuilt(abi, "mnas_runner").parent, tmp_path / abi)
    changed = tmp_path / "x86_64" / "mnas_runner"
    changed.write_bytes(changed.read_bytes() + b"\0")
    assert build_phone_runner.differing(tmp_path) == ["x86_64/mnas_runner"]


def test_another_compiler_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1.0")
    with pytest.raises(ToolError, match=f"pip install ziglang=={ZIGLANG_VERSION}") as caught:
        check_compiler()
    assert caught.value.kind == "compiler_missing"
