from pathlib import Path

import pytest

from mnas.kernels.library import LIBRARY
from tools import build_kernels
from tools.c_compiler import ZIGLANG_VERSION


def test_the_committed_library_is_what_the_sources_give(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="needs the pinned compiler")
    build_kernels.build(tmp_path / "kernels.so")
    assert (tmp_path / "kernels.so").read_bytes() == LIBRARY.read_bytes()


def test_another_compiler_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1.0")
    with pytest.raises(build_kernels.BuildError, match=f"pip install ziglang=={ZIGLANG_VERSION}"):
        build_kernels.build(tmp_path / "kernels.so")
