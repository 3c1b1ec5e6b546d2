"""`import mnas`: what it offers, and what it does not load."""

import pkgutil
import subprocess
import sys

import pytest

import mnas


def test_importing_is_light() -> None:
    code = "import mnas, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "mnas" in loaded
    assert {"numpy", "ray", "mindspore", "msgspec", "onnx"}.isdisjoint(loaded)


@pytest.mark.parametrize("name", mnas.__all__)
def test_every_name_is_there(name: str) -> None:
    value = getattr(mnas, name)
    assert value.__name__ == name
    assert getattr(mnas, name) is value


def test_no_name_is_that_of_a_sub_package() -> None:
    modules = {module.name for module in pkgutil.iter_modules(mnas.__path__)}
    assert "search" in modules
    assert modules.isdisjoint(mnas.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mnas' has no attribute 'Serach'"):
        mnas.Serach  # noqa: B018  # the access is what is tested


def test_editors_are_told_the_names() -> None:
    assert set(mnas.__all__) <= set(dir(mnas))
