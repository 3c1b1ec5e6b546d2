from pathlib import Path

import pytest

from mnas.documents.errors import DocumentError
from mnas.documents.own_parts import is_own_part, load_own_part


@pytest.fixture(autouse=True)
def _own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_module_that_works.py").write_text("def load(): return 7\n")
    (tmp_path / "own_module_that_fails.py").write_text("import does_not_exist_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", ["ppo", "a.b", "a:", ":b", "a b:c", "a..b:c", "a:b.c", "../x:y", "a.yaml:1"])
def test_other_names_are_no_own_parts(name: str) -> None:
    assert not is_own_part(name)
    with pytest.raises(DocumentError, match=r"package\.module:Name"):
        load_own_part(name)


def test_a_part_is_imported_from_the_users_module() -> None:
    part = load_own_part("own_module_that_works:load")
    assert callable(part)
    assert part() == 7


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_module_that_is_nowhere:load", "PYTHONPATH"),
        ("own_module_that_fails:load", "does_not_exist_anywhere"),
        ("own_module_that_works:other", "has no other"),
    ],
)
def test_a_missing_part_is_named(name: str, said: str) -> None:
    with pytest.raises(DocumentError, match=said):
        load_own_part(name)
