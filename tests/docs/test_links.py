"""Links of the pages outside the site; those inside are checked when it is built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, name, prose

_LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "README_CN.md", ROOT / "CONTRIBUTING.md"], ids=name)
def test_links_lead_to_files(page: Path) -> None:
    targets = _LINK.findall(prose(page))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
