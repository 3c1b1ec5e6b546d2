r"""Text from elsewhere, made harmless for where it is shown: terminals, HTML, XML and Markdown.

Names of classes, files, phones and networks, failures and messages of engines come from files and phones of others. In
a terminal their control characters could move the cursor, change the window's title or hide text; in a document they
could become markup. Characters that are not shown are written as escapes, such as `\x1b`.
"""

from __future__ import annotations

import re
from html import escape

# Controls but for tab and line feed, marks that change the direction of text, separators that some programs take for
# line ends, halves of surrogate pairs, and what XML cannot hold.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\uffff"
    "\U000e0000-\U000e007f]"
)
_MARKUP = re.compile(r"[\\`*\[\]<>|~&$!]")


def printable(text: object) -> str:
    r"""Return text for a terminal: characters that control it, or that hide or turn other text, are escaped.

    >>> print(printable("red: \x1b[31m, gone: \r, turned: \u202e"))
    red: \x1b[31m, gone: \x0d, turned: \u202e
    """
    return _HIDDEN.sub(lambda match: _escaped(match[0]), str(text))


def is_printable(text: str) -> bool:
    """Return whether `printable` leaves a text as it is."""
    return _HIDDEN.search(text) is None


def one_line(text: object) -> str:
    r"""Return text as `printable` does, with line feeds and tabs escaped too.

    >>> one_line("a\nb")
    'a\\x0ab'
    """
    return re.sub(r"[\n\t]", lambda match: _escaped(match[0]), printable(text))


def html_text(text: object) -> str:
    """Return text for HTML and for XML, as the content of an element or the value of a quoted attribute.

    >>> html_text('<a href="x">')
    '&lt;a href=&quot;x&quot;&gt;'
    """
    return escape(printable(text))


def markdown_text(text: object) -> str:
    r"""Return text for one line of Markdown, as words: nothing in it becomes markup, HTML, a link or a table's cell.

    >>> print(markdown_text("[a](b) | <b> *c*"))
    \[a\](b) \| \<b\> \*c\*
    """
    words = _MARKUP.sub(lambda match: f"\\{match[0]}", one_line(text))
    return re.sub(r"(?i)\b(https?|ftp|mailto)(:)", r"\1\\\2", words)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
