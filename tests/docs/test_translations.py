"""The Chinese pages have the structure, the commands and the code of the English ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, heading_levels, prose

PAIRS = [
    (ROOT / "README.md", ROOT / "README_CN.md"),
    (ROOT / "docs" / "getting-started.md", ROOT / "docs" / "zh" / "getting-started.md"),
]
pytestmark = pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=["README", "getting-started"])


def test_headings_are_of_the_same_levels(english: Path, chinese: Path) -> None:
    assert heading_levels(chinese) == heading_levels(english)


def test_blocks_are_the_same(english: Path, chinese: Path) -> None:
    def code(page: Path) -> list[tuple[str, str | None, str]]:
        return [(block.language, block.title, block.text) for block in blocks(page) if block.language != "text"]

    assert code(chinese) == code(english)


def test_blocks_of_text_have_as_many_lines(english: Path, chinese: Path) -> None:
    def lengths(page: Path) -> list[int]:
        return [block.text.count("\n") for block in blocks(page) if block.language == "text"]

    assert lengths(chinese) == lengths(english)


def test_tables_have_as_many_rows(english: Path, chinese: Path) -> None:
    def rows(page: Path) -> int:
        return sum(line.startswith("|") for line in prose(page).splitlines())

    assert rows(chinese) == rows(english)
