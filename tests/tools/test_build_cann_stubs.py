import ctypes
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from tools import build_cann_stubs
from tools.build_cann_stubs import Needs, StubError, cached_stubs, environment, find_needs, mindspore_libraries


@pytest.fixture(scope="module")
def libraries() -> Path:
    try:
        build_cann_stubs.check_programs()
        return mindspore_libraries()
    except StubError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def needs(libraries: Path) -> Needs:
    return find_needs(libraries)


@pytest.fixture(scope="module")
def variables(libraries: Path) -> dict[str, str]:
    return cached_stubs()


def test_needs_are_those_of_cann(needs: Needs) -> None:
    assert {"libascendcl.so", "libhccl.so", "libge_runner.so"} <= needs.libraries
    assert {"aclrtMalloc", "_ZN2ge13StatusFactory8InstanceEv"} <= needs.functions
    assert not any(name.startswith(("libc.", "libstdc++", "libmindspore", "libpython")) for name in needs.libraries)
    assert not any(name.startswith(("Py", "_Py")) for name in needs.functions)


def test_every_needed_library_has_a_stub(needs: Needs, variables: dict[str, str]) -> None:
    folder = Path(variables["ASCEND_HOME_PATH"]) / "lib64"
    assert needs.libraries <= {path.name for path in folder.iterdir() if path.exists()}


def test_every_needed_symbol_is_in_a_stub(needs: Needs, variables: dict[str, str]) -> None:
    folder = Path(variables["ASCEND_HOME_PATH"]) / "lib64"
    stubs = [ctypes.CDLL(str(folder / name)) for name in ("libascendcl.so", "libopapi.so")]
    missing = [name for name in needs.functions if not any(hasattr(stub, name) for stub in stubs)]
    assert missing == []


def test_a_stub_returns_success(variables: dict[str, str]) -> None:
    assert ctypes.CDLL(str(Path(variables["ASCEND_HOME_PATH"]) / "lib64" / "libascendcl.so")).aclrtMalloc() == 0


def test_stubs_are_built_once(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def build(folder: Path, libraries: Path) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(build_cann_stubs, "build", build)
    assert cached_stubs() == variables


def test_the_users_search_paths_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    monkeypatch.setenv("PYTHONPATH", "/opt/python")
    found = environment(Path("/stubs"), Path("/mindspore/lib"))
    assert found["LD_LIBRARY_PATH"].startswith("/stubs/cann/lib64:/mindspore/lib:")
    assert found["LD_LIBRARY_PATH"].endswith(":/opt/lib")
    assert found["PYTHONPATH"] == "/stubs/python:/opt/python"


def test_a_missing_compiler_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StubError, match=r"gcc, g\+\+, nm, readelf missing; install binutils, g\+\+, gcc"):
        build_cann_stubs.check_programs()


def test_a_wheel_without_the_plugin_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    specification = ModuleSpec("mindspore", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: specification)
    with pytest.raises(StubError, match=r"Ascend plugin is missing: .* has no plugin/libmindspore_ascend"):
        mindspore_libraries()


def test_a_missing_mindspore_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StubError, match="pip install mindspore"):
        mindspore_libraries()


def test_a_toolkit_is_seen_by_its_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path))
    assert not build_cann_stubs.has_toolkit()
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libascendcl.so").touch()
    assert build_cann_stubs.has_toolkit()


def test_stubs_are_no_toolkit(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASCEND_HOME_PATH", variables["ASCEND_HOME_PATH"])
    assert not build_cann_stubs.has_toolkit()


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.build_cann_stubs", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"{tmp_path} exists; name a new folder\n")
