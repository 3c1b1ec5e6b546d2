"""Differences between the settings that a run was started with and those it is resumed with."""

from __future__ import annotations

from collections.abc import Set

import msgspec


def changed_keys(before: msgspec.Struct, after: msgspec.Struct, ignored: Set[str] = frozenset()) -> list[str]:
    """Return the paths of the keys that differ, with both values, without the paths in `ignored`."""
    old, new = flat(msgspec.to_builtins(before)), flat(msgspec.to_builtins(after))
    return [
        f"{key}: {old.get(key, 'absent')} -> {new.get(key, 'absent')}"
        for key in sorted(old.keys() | new.keys())
        if key not in ignored and old.get(key) != new.get(key)
    ]


def flat(value: object, path: str = "") -> dict[str, object]:
    """Return the values of nested mappings by their paths, such as `search.trials`."""
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, object] = {}
    for key, item in value.items():
        found |= flat(item, f"{path}.{key}" if path else str(key))
    return found
