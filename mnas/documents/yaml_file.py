"""YAML documents: read and checked against a type, and written so that they read back equal.

YAML is read as PyYAML's safe loader reads it, with these differences:
- Floats follow YAML 1.2: `1e-5` is a number. In YAML 1.1, and so in PyYAML, it is text unless it has a dot.
- Numbers are decimal. What PyYAML would read as another number (`010` as 8, `1:30` as 90, `0x1F`, `1_000`) is an error,
  as are `.inf` and `.nan`. In quotes it is text.
- A key that is given twice in one mapping is an error instead of silently replacing the first.
- The size of a document is bounded, as a file and with its aliases and merge keys written out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from mnas.documents.check import convert
from mnas.documents.errors import DocumentError
from mnas.documents.plain_data import NotDecimal, check_plain_data

_T = TypeVar("_T")
_FLOAT_TAG = "tag:yaml.org,2002:float"
_FLOAT = re.compile(
    r"""^(?: [-+]?(?: [0-9]+\.[0-9]* | \.[0-9]+ ) (?:[eE][-+]?[0-9]+)?
          |  [-+]?[0-9]+ [eE][-+]?[0-9]+
          |  [-+]?\.(?:inf|Inf|INF)
          |  \.(?:nan|NaN|NAN) )$""",
    re.VERBOSE,
)
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})")
MAX_BYTES = 4_000_000
MAX_NODES = 200_000


def read(path: str | Path, type: type[_T]) -> _T:
    """Read a YAML file as an instance of `type`.

    Raises:
        DocumentError: The file cannot be read, is not YAML, or does not fit the type.
    """
    source = str(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)  # a device or a pipe may have no end
        if len(content) > MAX_BYTES:
            raise DocumentError(f"{source}: larger than {MAX_BYTES:,} bytes; give a document of mnas")
        text = content.decode("utf-8")
    except FileNotFoundError as error:
        raise DocumentError(f"{source}: no such file; check the path (working directory: {Path.cwd()})") from error
    except IsADirectoryError as error:
        raise DocumentError(f"{source}: this is a directory; give the path of a YAML file") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{source}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from error
    except OSError as error:
        raise DocumentError(f"{source}: cannot be read: {error.strerror or error}") from error
    return parse(text, type, source=source)


def parse(text: str, type: type[_T], *, source: str = "<text>") -> _T:
    """Return YAML text as an instance of `type`.

    >>> parse("learning_rates: [1e-3, 1e-5]", dict[str, list[float]])
    {'learning_rates': [0.001, 1e-05]}

    Args:
        text: The YAML text.
        type: What it must fit, see `mnas.documents.check.convert`.
        source: Name of the document, for error messages.

    Raises:
        DocumentError: The text is not YAML or does not fit the type.
    """
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise DocumentError(f"{source}{_line(error)}: {_problem(error)}") from error
    except yaml.reader.ReaderError as error:
        raise DocumentError(
            f"{source}, character {error.position}: {error.reason} (#x{error.character:04x}); remove it"
        ) from error
    except RecursionError as error:
        raise DocumentError(f"{source}: the document is nested too deeply") from error
    except (AttributeError, KeyError, TypeError) as error:  # PyYAML does not check what an explicit tag is put on
        raise DocumentError(
            f"{source}: a value does not fit its tag ({error}); remove the tag, such as !!int"
        ) from error
    except ValueError as error:  # a date that does not exist, such as 2024-13-01
        raise DocumentError(f"{source}: {error}; quote the value if it is meant as text") from error
    if data is None:
        raise DocumentError(f"{source}: the document is empty")
    return convert(data, type, source=source)


def dump(obj: object) -> str:
    """Return plain data or a msgspec struct as YAML text that `parse` reads back.

    Keys keep their order, and lists of numbers are on one line.

    >>> print(dump({"name": "small", "learning_rate": 1e-05, "indices": [0, 2, 1], "tags": ["1e5"]}), end="")
    name: small
    learning_rate: 1e-05
    indices: [0, 2, 1]
    tags:
    - '1e5'

    Raises:
        DocumentError: The object is not plain data, or holds a number that `parse` refuses.
    """
    try:
        data = msgspec.to_builtins(obj)
        check_plain_data(data, "cannot be written as YAML")
        return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))
    except (TypeError, yaml.representer.RepresenterError) as error:
        raise DocumentError(f"cannot be written as YAML: {error}; use text, numbers, lists and mappings") from error
    except RecursionError as error:
        raise DocumentError("cannot be written as YAML: the data is nested too deeply or contains itself") from error


class _Loader(yaml.SafeLoader):
    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _refuse_large_document(node)
        return node

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Checked here, because a merge key (<<) has not yet added the keys that a mapping may override.
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.MappingNode):
            _refuse_duplicate_keys(node)
        return node


def _refuse_large_document(root: yaml.Node) -> None:
    """Refuse a document that contains itself, or is large with all aliases written out.

    An alias shares the node that it names, so a few lines can stand for 10^9 values. Merge keys copy them.
    """
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if (known := sizes.get(id(node))) is not None:
            return known
        if id(node) in open_nodes:
            raise yaml.composer.ComposerError(None, None, "contains itself by an alias; remove it", node.start_mark)
        open_nodes.add(id(node))
        pairs = isinstance(node, yaml.MappingNode)
        children = [child for pair in node.value for child in pair] if pairs else node.value
        total = 1 + sum(size(child) for child in children)
        open_nodes.discard(id(node))
        if total > MAX_NODES:
            problem = f"has more than {MAX_NODES:,} values with its aliases written out; remove aliases or values"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        sizes[id(node)] = total
        return total

    size(root)


def _construct_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | NotDecimal:
    text = str(loader.construct_scalar(node))
    return int(text) if _DECIMAL.fullmatch(text) else NotDecimal(text)


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
    text = str(loader.construct_scalar(node))
    if not (_FLOAT.match(text) or _DECIMAL.fullmatch(text)):
        return NotDecimal(text)
    return float(text.replace(".", "", 1) if text.lstrip("+-")[:2].lower() in (".i", ".n") else text)


def _refuse_duplicate_keys(mapping: yaml.MappingNode) -> None:
    seen: dict[tuple[str, str], yaml.Node] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        first = seen.setdefault((key.tag, key.value), key)
        if first is not key:
            problem = f"key {key.value!r} is given twice (first in line {first.start_mark.line + 1}); keep one"
            raise yaml.composer.ComposerError(None, None, problem, key.start_mark)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # In any other style PyYAML writes these characters unescaped, and reads them as line breaks or refuses them.
    style = '"' if any(character in text for character in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_float(dumper: yaml.SafeDumper, number: float) -> yaml.ScalarNode:
    return dumper.represent_scalar(_FLOAT_TAG, float.__repr__(number))  # `dump` has refused those that are not finite


def _represent_list(dumper: yaml.SafeDumper, items: list[object] | tuple[object, ...]) -> yaml.SequenceNode:
    numbers = all(type(item) in (int, float) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=numbers)


def _use_yaml_1_2_floats(resolver: type[yaml.SafeLoader] | type[yaml.SafeDumper]) -> None:
    resolver.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in patterns if tag != _FLOAT_TAG]
        for first, patterns in resolver.yaml_implicit_resolvers.items()
    }
    resolver.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+.0123456789"))


_use_yaml_1_2_floats(_Loader)
_use_yaml_1_2_floats(_Dumper)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_integer)
_Loader.add_constructor(_FLOAT_TAG, _construct_float)
_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)


def _line(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f", line {mark.line + 1}" if mark else ""


def _problem(error: yaml.MarkedYAMLError) -> str:
    words = [word for word in (error.context, error.problem) if word]
    return ", ".join(words)
