"""What MkDocs calls while it builds the site (`hooks:` in mkdocs.yml).

Run it as `python -m mkdocs` in the checkout, so that the packages of this checkout are found.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools.yaml_reference import yaml_reference

ROOT = Path(__file__).resolve().parent.parent
# Files of the repository that pages link to are copied here, since the site has to work without the repository.
COPIES = "repository"
_LINK = re.compile(r"\]\((?P<up>(?:\.\./)+)(?P<path>[^)#\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated reference of YAML keys and the files outside docs/ that pages link to."""
    files.append(File.generated(config, "reference/yaml.md", content=yaml_reference()))
    linked = {
        target
        for file in files.documentation_pages()
        for match in _LINK.finditer(file.content_string)
        if (target := outside(file.src_uri, match["up"] + match["path"])) is not None
    }
    for target in sorted(linked):
        files.append(File.generated(config, _copy_name(target), content=(ROOT / target).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links to files outside docs/ at their copies in the site."""

    def moved(match: re.Match[str]) -> str:
        target = outside(page.file.src_uri, match["up"] + match["path"])
        if target is None:
            return match[0]
        return f"]({'../' * page.file.src_uri.count('/')}{_copy_name(target)})"

    return _LINK.sub(moved, markdown)


def outside(page: str, link: str) -> str | None:
    """Return the path in the repository of a file that a page links to, None if it is in docs/ or does not exist."""
    docs = ROOT / "docs"
    target = (docs / page).parent.joinpath(link).resolve()
    if target.is_relative_to(docs) or not target.is_relative_to(ROOT) or not target.is_file():
        return None
    return target.relative_to(ROOT).as_posix()


def _copy_name(target: str) -> str:
    # A browser shows .txt and downloads .yaml.
    return f"{COPIES}/{target}" + ("" if target.endswith((".md", ".svg", ".png")) else ".txt")
