"""Every command and Python block of the documentation is run, or checked if it cannot run here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mnas.documents import yaml_file
from mnas.experiment import Experiment
from mnas.retrain.recipe import load_recipe
from tests.docs.commands import check_known, check_runnable
from tests.docs.conftest import REPLACEMENTS, Workspace
from tests.docs.pages import PAGES, ROOT, Block, blocks, name, prose

SHELL = ("bash", "console")
# Blocks that show something: `py` is Python that is not meant to run (the pairs of docs/style.md).
SHOWN = ("text", "py")
RECIPE_PART = "a part of a recipe"
_INLINE = re.compile(r"`((?:mnas |make |python -m experiments\.)[^`]+)`")
_INDENTED = re.compile(r"^ {4,}((?:mnas |make |python -m experiments\.).+)$", re.MULTILINE)

RUNNING = [
    page
    for page in PAGES
    if any(block.reason is None and block.language in (*SHELL, "python") for block in blocks(page))
]


@pytest.mark.parametrize("page", RUNNING, ids=name)
def test_commands_and_scripts_run(page: Path, workspace: Workspace) -> None:
    scripts = []
    for block in blocks(page):
        if block.title is not None:
            workspace.write(block.title, block.text)
        elif block.language in SHELL and block.reason is None:
            printed = "".join(workspace.run(command) for command in block.commands)
            _assert_shown_lines(block, printed)
        elif block.language == "python" and block.reason is None:
            scripts.append(block.text)
    if scripts:
        workspace.run_python("\n".join(scripts))


def _assert_shown_lines(block: Block, printed: str) -> None:
    """The first word of every line that a page shows begins a line of the real output."""
    begins = {line.split()[0] for line in printed.splitlines() if line.strip()}
    for line in block.output:
        word = line.split()[0] if line.strip() else "..."
        if word.isalpha():
            assert word in begins, f"line {block.line}: {line!r} is not printed:\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_that_are_only_checked_are_accepted(page: Path) -> None:
    for block in blocks(page):
        if block.language in SHELL and block.reason is not None:
            for command in block.commands:
                check_runnable(command)
        elif block.language == "python" and block.reason is not None:
            compile(block.text, f"{name(page)}:{block.line}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_in_the_text_exist(page: Path) -> None:
    text = prose(page)
    for command in (*_INLINE.findall(text), *_INDENTED.findall(text)):
        check_known(command)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_has_a_language(page: Path) -> None:
    known = {*SHELL, *SHOWN, "python", "yaml"}
    assert [block.line for block in blocks(page) if block.language not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_parts_of_experiments_are_accepted(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    whole = yaml_file.read(ROOT / "experiments" / "quickstart.yaml", dict[str, Any])
    for block in blocks(page):
        if block.language == "python" and block.title is not None:
            (tmp_path / block.title).write_text(block.text)
        if block.language == "yaml" and block.title is None and block.reason is None:
            Experiment.from_dict(_merged(whole, yaml_file.parse(block.text, dict[str, Any], source=name(page))))


@pytest.mark.parametrize("page", [page for page in PAGES if RECIPE_PART in page.read_text()], ids=name)
def test_parts_of_recipes_are_accepted(page: Path, tmp_path: Path) -> None:
    recipe = (ROOT / "experiments" / "recipes" / "cifar10.yaml").read_text()
    for number, block in enumerate(blocks(page)):
        if block.reason == RECIPE_PART:
            path = tmp_path / f"{number}.yaml"
            path.write_text(f"{recipe}\n{block.text}")
            load_recipe(path)


def _merged(whole: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Return `whole` with the keys of `part`, section by section; another `name` or `format` is another section."""
    merged = dict(whole)
    for key, value in part.items():
        before = merged.get(key)
        alike = isinstance(value, dict) and isinstance(before, dict)
        if alike and not {"name", "format"} & value.keys():
            value = {**whole[key], **value}
        merged[key] = value
    return merged


def test_every_replacement_is_needed() -> None:
    everything = "".join(page.read_text() for page in PAGES)
    assert [text for text in REPLACEMENTS if text not in everything] == []
