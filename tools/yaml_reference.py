"""Write the reference of every YAML key from the structs that check the files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect as types

import controllers
from controllers.hyperparameters import Hyperparameter
from latency import MeasurementSettings
from latency.android.profile import PhoneProfile
from latency.measurement.protocol import BOUNDS
from mnas.documents.json_schema import structs_in
from mnas.documents.meanings import meanings_of, sentence, summary, with_unit
from mnas.experiment import Experiment
from mnas.retrain.recipe import Recipe
from search_space import SearchSpace
from search_space.architecture_file import ArchitectureFileFields

INTRODUCTION = """\
# YAML reference

Every key of every YAML file that mnas reads, with its meaning, what is allowed, its default and its unit. This page is
generated from the structs that check the files, so it cannot differ from them. A key without a default is required. A
mistake in a file is answered with the key's path and what is allowed, before anything starts.
"""

DOCUMENTS: Mapping[str, tuple[type, str]] = {
    "Experiment": (Experiment, "What `mnas search` reads; see [Launch a search](../guides/search.md)."),
    "Recipe": (Recipe, "What `mnas retrain --recipe` reads; see [Retrain the final model](../guides/retrain.md)."),
    "Search space": (SearchSpace, "A file for `space:`; see [Search spaces](../search-spaces.md)."),
    "Architecture file": (ArchitectureFileFields, "One network; `mnas export` and `mnas search` write it."),
    "Phone profile": (PhoneProfile, "Written by `mnas phones add`; see [Measure on a phone](../phones.md)."),
}


@dataclass(frozen=True)
class Key:
    """One row of the reference."""

    name: str
    meaning: str
    allowed: str
    default: str

    def row(self) -> str:
        """Return the row in Markdown."""
        cells = (f"`{self.name}`", self.meaning, self.allowed, self.default)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


@dataclass(frozen=True)
class Section:
    """One struct: its title (a path of keys), what its docstring says first, and its keys."""

    title: str
    summary: str
    keys: tuple[Key, ...]

    def markdown(self) -> str:
        """Return the section with its heading."""
        lines = [f"### {self.title} {{#{_slug(self.title)}}}", "", self.summary, ""]
        if self.keys:
            lines += ["| key | meaning | allowed | default |", "|---|---|---|---|", *(key.row() for key in self.keys)]
        return "\n".join(lines).rstrip() + "\n"


def yaml_reference() -> str:
    """Return the whole page in Markdown."""
    parts = [INTRODUCTION]
    for title, (_, introduction) in DOCUMENTS.items():
        parts.append(f"## {title}\n\n{introduction}\n")
        parts += [section.markdown() for section in _sections_of_documents()[title]]
    return "\n".join(parts)


def keys_without_meaning() -> list[str]:
    """Return the keys whose struct does not document them."""
    return [
        f"{section.title}: {key.name}"
        for sections in _sections_of_documents().values()
        for section in sections
        for key in section.keys
        if not key.meaning
    ]


def _sections_of_documents() -> dict[str, list[Section]]:
    """Return the sections of every document; a struct that several documents share stands in the first."""
    anchors: dict[type, str] = {}
    structs = {
        title: list(_titled_structs(struct, "", f"{title}: top level", anchors))
        for title, (struct, _) in DOCUMENTS.items()
    }
    sections = {
        document: [_section(struct, title, anchors) for struct, title in titled] for document, titled in structs.items()
    }
    sections["Experiment"] += [_measurement_section(), *_controller_sections()]
    return sections


def _titled_structs(struct: type, path: str, title: str, anchors: dict[type, str]) -> Iterator[tuple[type, str]]:
    """Yield a struct and those of its fields, each once, with titles; note their anchors."""
    if struct in anchors:
        return
    anchors[struct] = _slug(title)
    yield struct, title
    for field in _fields(struct):
        for inner in structs_in(field.type):
            inner_path = f"{path}{field.encode_name}"
            name = f"`{inner_path}`" if inner.tag_field is None else f"`{inner_path}`, `{inner.tag_field}: {inner.tag}`"
            yield from _titled_structs(inner.cls, f"{inner_path}.", name, anchors)


def _section(struct: type, title: str, anchors: Mapping[type, str]) -> Section:
    meanings = meanings_of(struct)
    keys = [
        Key(
            field.encode_name,
            with_unit(field.name, meanings.get(field.name, "")),
            _allowed(field.type, anchors),
            _default(field),
        )
        for field in _fields(struct)
    ]
    config = struct.__struct_config__  # type: ignore[attr-defined]
    if config.tag_field is not None:
        keys.insert(0, Key(config.tag_field, "Chooses this form.", f"`{config.tag}`", "required"))
    return Section(title, _introduction(struct, is_form=config.tag_field is not None), tuple(keys))


def _introduction(struct: type, *, is_form: bool) -> str:
    """Return what the docstring says to a user; of a struct that no tag chooses, its first paragraph."""
    paragraphs = [text for text in summary(struct).split("\n\n") if "keys are those of" not in text]
    return "\n\n".join(paragraphs if is_form else paragraphs[:1])


def _fields(struct: type) -> tuple[types.Field, ...]:
    info = types.type_info(struct)
    assert isinstance(info, types.StructType)
    return info.fields


def _measurement_section() -> Section:
    return Section(
        "`latency.measurement`",
        "Changes to the measurement protocol. The same fields are set in a phone's profile (`measurement`) and by "
        "`--set FIELD=VALUE`.",
        tuple(_measurement_keys()),
    )


def _controller_sections() -> list[Section]:
    return [
        Section(
            f"`controller`, `name: {strategy.name}`",
            sentence(strategy.summary),
            tuple(_hyperparameter_key(each) for each in strategy.described_hyperparameters()),
        )
        for strategy in controllers.STRATEGIES.values()
    ]


def _measurement_keys() -> Iterator[Key]:
    meanings = meanings_of(MeasurementSettings)
    for field in dataclasses.fields(MeasurementSettings):
        kind = "whole number" if field.type == "int" else "number"
        low, high = (f"{bound:,.10g}" for bound in BOUNDS[field.name])
        yield Key(
            field.name,
            with_unit(field.name, meanings.get(field.name, "")),
            f"{kind} ≥\N{NO-BREAK SPACE}{low}, ≤\N{NO-BREAK SPACE}{high}",
            _value(field.default),
        )


def _hyperparameter_key(hyperparameter: Hyperparameter) -> Key:
    return Key(
        hyperparameter.name,
        sentence(hyperparameter.doc),
        hyperparameter.allowed,
        _value(hyperparameter.default),
    )


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9_.]+", "-", title.lower()).strip("-")


def _allowed(kind: types.Type, anchors: Mapping[type, str]) -> str:
    match kind:
        case types.Metadata():
            return _allowed(kind.type, anchors)
        case types.UnionType():
            return " or ".join(_allowed(each, anchors) for each in kind.types if not isinstance(each, types.NoneType))
        case types.LiteralType():
            return ", ".join(f"`{value}`" for value in kind.values)
        case types.IntType():
            return f"whole number{_bounds(kind)}"
        case types.FloatType():
            return f"number{_bounds(kind)}"
        case types.BoolType():
            return "`true`, `false`"
        case types.StrType():
            return "text"
        case types.StructType():
            return f"[{kind.tag or 'section'}](#{anchors[kind.cls]})"
        case types.DictType():
            return f"mapping of names to: {_allowed(kind.value_type, anchors)}"
        case types.VarTupleType() | types.ListType():
            return f"list of: {_allowed(kind.item_type, anchors)}"
    return "anything"


def _bounds(kind: types.IntType | types.FloatType) -> str:
    limits = [
        f" {sign}\N{NO-BREAK SPACE}{_number(limit)}"
        for sign, limit in (("≥", kind.ge), (">", kind.gt), ("≤", kind.le), ("<", kind.lt))
        if limit is not None
    ]
    return ",".join(limits)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _default(field: types.Field) -> str:
    if field.required:
        return "required"
    if field.default is not msgspec.NODEFAULT:
        return _value(field.default)
    return _value(field.default_factory())


def _value(value: Any) -> str:
    if value is None:
        return "absent"
    if isinstance(value, msgspec.Struct) and value.__struct_config__.tag_field is not None:
        return f"`{value.__struct_config__.tag}`"
    plain = msgspec.to_builtins(value)
    if isinstance(plain, bool):
        return f"`{str(plain).lower()}`"
    if isinstance(plain, dict) and all(inner is None or isinstance(inner, str) for inner in plain.values()):
        plain = {key: inner for key, inner in plain.items() if inner is not None}
    return f"`{_flow(plain)}`"


def _flow(value: Any) -> str:
    """Return plain data as YAML writes it in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(inner) for inner in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
