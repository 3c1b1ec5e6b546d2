from typing import Annotated

import jsonschema
import msgspec
import pytest
from msgspec import Meta

from mnas.documents.json_schema import json_schema


class Base(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What all have.

    Attributes:
        size: Height and width, in
            pixels.
        low, high: Limits.
    """

    size: int
    low: float = 0.0
    high: Annotated[float, Meta(le=1)] = 1.0


class Part(Base, tag="part", tag_field="kind"):
    """A part.

    It has a second paragraph.

    Attributes:
        size: Height of the part.
    """


class Whole(msgspec.Struct, forbid_unknown_fields=True):
    """The whole.

    Attributes:
        parts: By name.
        others: In order.

    Raises:
        ValueError: never.
    """

    parts: dict[str, Part] = {}
    others: tuple[Part, ...] = ()
    undocumented: int | None = None


SCHEMA = json_schema(Whole)
PART = SCHEMA["$defs"]["Part"]


def test_a_struct_is_described_without_its_sections() -> None:
    assert SCHEMA["$defs"]["Whole"]["description"] == "The whole."
    assert PART["description"] == "A part. It has a second paragraph."


def test_a_key_has_the_meaning_of_its_own_struct_first() -> None:
    assert PART["properties"]["size"]["description"] == "Height of the part."


def test_a_key_has_the_meaning_that_a_base_class_gives() -> None:
    assert [PART["properties"][key]["description"] for key in ("low", "high")] == ["Limits.", "Limits."]


def test_a_key_without_a_meaning_has_none() -> None:
    assert "description" not in SCHEMA["$defs"]["Whole"]["properties"]["undocumented"]


@pytest.mark.parametrize(
    "document",
    [{"part": {}}, {"parts": {"a": {"kind": "part"}}}, {"others": [{"kind": "part", "size": 1, "high": 2}]}],
)
def test_the_schema_still_refuses(document: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_the_schema_still_accepts() -> None:
    jsonschema.validate({"parts": {"a": {"kind": "part", "size": 1}}, "others": []}, SCHEMA)
