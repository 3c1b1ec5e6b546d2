import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mnas.documents.errors import DocumentError
from mnas.documents.yaml_file import dump, parse, read

INTEGERS = st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NUMBER_LIKE = st.from_regex(r"[-+]?[0-9_]{0,3}[.:]?[0-9]{0,3}([eE][-+]?[0-9]{1,3})?", fullmatch=True)


class Point(msgspec.Struct, forbid_unknown_fields=True):
    y: int
    x: int


def parse_value(text: str) -> object:
    return parse(f"value: {text}", dict[str, Any])["value"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-5", 1e-5),
        ("1e-10", 1e-10),
        ("1E3", 1000.0),
        ("-2e+4", -2e4),
        ("+1.5e3", 1500.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("0.016", 0.016),
    ],
)
def test_floats_are_read_by_the_rule_of_yaml_1_2(text: str, number: float) -> None:
    value = parse_value(text)
    assert type(value) is float
    assert value == number


@pytest.mark.parametrize("text", ["1e", "e5", "1.2.3", "r1_k3", "1e5x", "'1e5'", "1_0.5", "1:30.5"])
def test_what_is_no_number_stays_text(text: str) -> None:
    assert parse_value(text) == text.strip("'")


def test_integers_stay_integers() -> None:
    assert type(parse_value("12")) is int


@given(PLAIN)
def test_what_is_dumped_reads_back_the_same(data: object) -> None:
    document = {"data": data}
    assert parse(dump(document), dict[str, Any]) == document


@given(st.lists(FLOATS | INTEGERS))
def test_numbers_keep_their_value_and_type(numbers: list[float | int]) -> None:
    read_back = parse(dump({"numbers": numbers}), dict[str, list[Any]])["numbers"]
    assert [(type(number), number) for number in read_back] == [(type(number), number) for number in numbers]


@given(NUMBER_LIKE)
def test_text_that_looks_like_a_number_stays_text(text: str) -> None:
    assert parse(dump({"text": text}), dict[str, Any]) == {"text": text}


@pytest.mark.parametrize(
    "text", ["\x85", "a\u2028b", "\u2029", "\ufeff", "größe", "a\nb\r\nc ", "\U0001f600", "no", "~", ""]
)
def test_text_is_kept_to_the_character(text: str) -> None:
    assert parse(dump({text: [text]}), dict[str, Any]) == {text: [text]}


def test_keys_keep_their_order() -> None:
    assert dump(Point(y=1, x=2)) == "y: 1\nx: 2\n"


def test_a_list_that_occurs_twice_is_written_twice() -> None:
    shared = ["a"]
    assert "&" not in dump({"one": shared, "two": shared})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 2**63])
def test_a_number_that_is_not_read_is_not_written(number: float) -> None:
    with pytest.raises(DocumentError, match="cannot be written as YAML: 'x'"):
        dump({"x": number})


@pytest.mark.parametrize(
    "text", ["010", "-010", "1:30", "0x1F", "1_000", "0b11", "!!int '0o11'", "!!int x", "!!float 1_0.5", "!!float x"]
)
def test_a_number_that_is_not_decimal_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(DocumentError, match=r"s: 'a\[1\].b' is written .*; write a number in decimal digits, or quote"):
        parse(f"a: [1, {{b: {text}}}]", dict[str, Any], source="s")


def test_a_key_that_is_not_decimal_is_refused() -> None:
    with pytest.raises(DocumentError, match="s: 'a' has a key that is written 010"):
        parse("a: {010: 1}", dict[str, Any], source="s")


@pytest.mark.parametrize("text", ["'010'", '"1:30"', "'.inf'", "0o11", "08"])
def test_a_number_in_quotes_is_text(text: str) -> None:
    assert parse_value(text) == text.strip("'\"")


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan", "1e999", "!!float .INF"])
def test_a_number_that_is_not_finite_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(DocumentError, match=r"s: 'a\.b' is -?(inf|nan); write a finite number"):
        parse(f"a: {{b: {text}}}", dict[str, Any], source="s")


@pytest.mark.parametrize("digits", [20, 5000])
def test_a_huge_integer_is_refused(digits: int) -> None:
    with pytest.raises(DocumentError, match="'a'"):
        parse(f"a: {'9' * digits}", dict[str, Any])


MERGE_BOMB = "m0: &m0 {k0: 1}\n" + "".join(
    f"m{level}: &m{level} {{<<: [{', '.join([f'*m{level - 1}'] * 10)}], k{level}: 1}}\n" for level in range(1, 12)
)
ALIAS_BOMB = "m0: &m0 [1, 1]\n" + "".join(
    f"m{level}: &m{level} [{', '.join([f'*m{level - 1}'] * 10)}]\n" for level in range(1, 12)
)


@pytest.mark.parametrize("text", [MERGE_BOMB, ALIAS_BOMB])
def test_a_document_that_is_huge_with_its_aliases_is_refused(text: str) -> None:
    with pytest.raises(DocumentError, match="has more than 200,000 values with its aliases written out"):
        parse(text, dict[str, Any])


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "a: &a {<<: *a}", "&a {? *a : 1}"])
def test_a_document_that_contains_itself_is_refused(text: str) -> None:
    with pytest.raises(DocumentError, match=r"contains itself|undefined alias"):
        parse(text, dict[str, Any])


@pytest.mark.parametrize("text", ["[" * 5000, "[" * 5000 + "]" * 5000, "{a: " * 5000 + "1" + "}" * 5000])
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parse(text, dict[str, Any])


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(DocumentError, match="larger than 4,000,000 bytes"):
        read("/dev/zero", dict[str, Any])


@pytest.mark.parametrize("value", [object(), {1, object()}, 1 + 2j])
def test_what_is_no_plain_data_is_not_written(value: object) -> None:
    with pytest.raises(DocumentError, match="cannot be written as YAML"):
        dump({"value": value})


def test_data_that_contains_itself_is_not_written() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(DocumentError, match="contains itself"):
        dump(loop)


def test_merge_keys_may_be_overridden() -> None:
    text = "base: &base {y: 1, x: 2}\nother: {<<: *base, x: 3}\nthird: {<<: *base}"
    assert parse(text, dict[str, Point]) == {"base": Point(1, 2), "other": Point(1, 3), "third": Point(1, 2)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml: the document is empty"),
        ("# nothing but a comment\n", "f.yaml: the document is empty"),
        ("y: 1\nx: [1, 2", "f.yaml, line 2: while parsing a flow sequence, expected ',' or ']'"),
        ("y: 1\n\tx: 2", "f.yaml, line 2: "),
        ("y: 1\nx: 2\n\ny: 3", "f.yaml, line 4: key 'y' is given twice (first in line 1); keep one"),
        ("y: 1\nx: {a: 1, a: 2}", "f.yaml, line 2: key 'a' is given twice (first in line 2)"),
        ("y: 1\n---\ny: 2", "f.yaml, line 2: expected a single document"),
        ("y: *nowhere", "f.yaml, line 1: found undefined alias 'nowhere'"),
        ("y: !!python/object:os.system x", "f.yaml, line 1: could not determine a constructor for the tag"),
        ("? [a, b]\n: 1", "f.yaml, line 1: while constructing a mapping, found unhashable key"),
        ("y: 2024-13-45", "f.yaml: month must be in 1..12"),
        ("y: \x07", "f.yaml, character 3: special characters are not allowed (#x0007)"),
        ("[" * 5000, "f.yaml: the document is nested too deeply"),
        ("- 1\n- 2", "f.yaml: the document is a list of 2; allowed: a mapping with the keys y, x"),
        ("y: 1", "f.yaml: key 'x' is missing; it takes an integer"),
    ],
)
def test_text_that_is_no_document_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(text, Point, source="f.yaml")
    assert str(caught.value).startswith(message)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "point.yaml"
    path.write_text("x: 1\ny: 2\n")
    assert read(path, Point) == Point(x=1, y=2)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"nowhere\.yaml: no such file; check the path"):
        read(tmp_path / "nowhere.yaml", Point)


def test_a_directory_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="this is a directory; give the path of a YAML file"):
        read(tmp_path, Point)


def test_a_path_through_a_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DocumentError, match="cannot be read: Not a directory"):
        read(tmp_path / "file" / "point.yaml", Point)


def test_text_that_is_not_utf_8_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("x: 1 # größe".encode("latin-1"))
    with pytest.raises(DocumentError, match=r"not UTF-8 text \(byte 9\); save the file as UTF-8"):
        read(path, Point)


def test_the_byte_order_mark_of_some_editors_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfx: 1\ny: 2\n")
    assert read(path, Point) == Point(x=1, y=2)


def test_pyyaml_itself_reads_as_before() -> None:
    # The rules of this package must not leak into the loaders that others use.
    assert yaml.safe_load("a: 1e-5\na: 1e-6") == {"a": "1e-6"}


@pytest.mark.parametrize("text", ["!!timestamp", "!!timestamp x", "!!set x", "!!bool x", "!!binary é", "!x 1"])
def test_a_tag_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parse(f"a: {text}", dict[str, Any])


def test_half_a_character_is_refused_with_its_place() -> None:
    with pytest.raises(DocumentError, match="'a' holds half of a character"):
        parse(r'a: "\ud800"', dict[str, Any])
