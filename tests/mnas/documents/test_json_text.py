import json
import math

import pytest

from mnas.documents.errors import DocumentError
from mnas.documents.json_text import dump_json, parse_json


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": [1, NaN]}', "'a\\[1\\]' is nan"),
        ('{"a": -Infinity}', "'a' is -inf"),
        ('{"a": 1e999}', "'a' is inf"),
        ('{"a": 99999999999999999999}', "'a' is a number of more than 64 bits"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "not JSON"),
        (b"\xff", "not JSON"),
        ("9" * 5000, "not JSON"),
    ],
)
def test_text_that_cannot_be_used_is_refused(text: str, problem: str) -> None:
    with pytest.raises(DocumentError, match=f"^s: .*{problem}"):
        parse_json(text, source="s")


def test_numbers_that_are_not_finite_can_be_read_as_none() -> None:
    text = json.dumps({"a": [math.nan, math.inf, -math.inf, 1.5]})
    assert parse_json(text, source="s", without_infinite=True) == {"a": [None, None, None, 1.5]}


def test_what_is_written_can_always_be_read() -> None:
    assert parse_json(dump_json({"a": (math.nan, 0.1)}), source="s") == {"a": [None, 0.1]}
