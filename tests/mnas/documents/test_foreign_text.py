import io
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mnas.cli.errors import explained
from mnas.cli.output import print_json, print_table
from mnas.cli.phones.waits import Waits
from mnas.cli.waiting import waiting_for
from mnas.documents.foreign_text import html_text, markdown_text, one_line, printable
from mnas.documents.html_table import html_table
from mnas.errors import Error
from mnas.export import svg

HOSTILE = "\x1b]0;pwned\a\x1b[31m\r\x9b2J\u202egnp.exe\u2066</td></svg><script>alert(1)</script>\ud800&\x00"
CONTROLS = set(
    map(chr, [*range(9), *range(11, 32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
)


@given(st.text())
def test_no_control_character_is_printable(text: str) -> None:
    assert not CONTROLS & set(printable(text))
    printable(text).encode()


@given(st.text(st.characters(exclude_categories=["C", "Z"])))
def test_other_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(st.text())
def test_one_line_has_no_line_end(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


@given(st.text())
def test_xml_stays_xml(text: str) -> None:
    element = ElementTree.fromstring(f"<a b='{html_text(text)}'>{html_text(text)}</a>")
    assert (list(element), element.text or "") == ([], printable(text))


def test_a_diagram_stays_svg() -> None:
    root = ElementTree.fromstring(svg.document(10, 10, HOSTILE, [svg.text(0, 0, HOSTILE)]))
    assert sorted(child.tag.partition("}")[2] for child in root) == ["rect", "text", "title"]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.tags.append(tag)


def test_a_table_in_a_notebook_has_no_foreign_tags() -> None:
    parser = _Tags()
    parser.feed(html_table([HOSTILE], [[HOSTILE]], caption=HOSTILE))
    assert parser.tags == ["table", "caption", "tr", "th", "tr", "td"]


@pytest.mark.parametrize("text", ["| cell", "<b>", "[a](b)", "![a](b)", "`code`", "**a**", "&lt;", "~~a~~", "$a$"])
def test_markdown_has_no_foreign_markup(text: str) -> None:
    escaped = markdown_text(text)
    assert all(escaped[place - 1] == "\\" for place, sign in enumerate(escaped) if sign in "|<>[]`*&~$")


def test_markdown_stays_in_its_line() -> None:
    assert "\n" not in markdown_text("a\n\n# title")


def test_what_commands_print_has_no_controls(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        print(HOSTILE)
        print_json({HOSTILE: HOSTILE})
        print_table([HOSTILE], [[HOSTILE + "\n"]])
        return 0

    assert explained(run) == 0
    assert not CONTROLS & set(capsys.readouterr().out)


def test_errors_have_no_controls(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        raise Error(HOSTILE)

    assert explained(run) == 1
    assert not CONTROLS & set(capsys.readouterr().err)


def test_what_is_waited_for_has_no_controls(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting_for(HOSTILE):
        pass
    assert not CONTROLS & set(capsys.readouterr().err)


def test_log_messages_have_no_controls() -> None:
    written = io.StringIO()
    Waits(Console(file=written)).say(HOSTILE)
    assert not CONTROLS & set(written.getvalue())
