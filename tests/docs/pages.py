"""The pages of the documentation, and the code blocks in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "README_CN.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)

# A fenced block; a comment right above it says why it is only checked, as in `<!-- check only: needs a phone -->`.
_BLOCK = re.compile(
    r"(?:^<!-- check only: (?P<reason>[^\n]+) -->\n)?"
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^(#{1,6}) ", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced code block.

    Attributes:
        line: The line of the page that the fence is on, counted from 1.
        title: The file that the reader is told to write it to.
        reason: Why it is checked and not run.
    """

    line: int
    language: str
    title: str | None
    reason: str | None
    text: str

    @property
    def commands(self) -> tuple[str, ...]:
        """The shell commands of a `console` block (after the prompt `$ `) or a `bash` block."""
        lines = self.text.splitlines()
        if self.language == "console":
            return tuple(line.removeprefix("$ ") for line in lines if line.startswith("$ "))
        return tuple(line for line in lines if line.strip())

    @property
    def output(self) -> tuple[str, ...]:
        """The lines of a `console` block that show what its commands print."""
        return tuple(line for line in self.text.splitlines() if not line.startswith("$ "))


def name(page: Path) -> str:
    """Return a page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(
            line=text.count("\n", 0, match.start()) + 1,
            language=match["language"],
            title=match["title"],
            reason=match["reason"],
            text=match["text"],
        )
        for match in _BLOCK.finditer(text)
    ]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text())


def heading_levels(page: Path) -> list[int]:
    """Return the level of each heading, in order."""
    return [len(mark) for mark in _HEADING.findall(prose(page))]
