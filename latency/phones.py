"""Phones by name."""

from __future__ import annotations

from contextlib import nullcontext

from latency.errors import PhoneError
from latency.host import HostPhone, Quiet
from latency.phone import Phone


def create_phones(name: str, quiet: Quiet = nullcontext) -> list[Phone]:
    """The phones of that name, which are equal; the caller closes them.

    `host` is this machine, `host:N` is its core N (see `HostPhone`). Raises PhoneError (`phone_unknown`) for another
    name, or for a core that this process may not use.
    """
    kind, _, core = name.partition(":")
    if name == "host":
        return [HostPhone(name, quiet=quiet)]
    if kind == "host" and core.isdecimal():
        return [HostPhone(name, int(core), quiet)]
    raise PhoneError(
        "phone_unknown", f"no phone is called {name!r}; known: 'host' (this machine), 'host:N' (its core N)"
    )


def create_phone(name: str, quiet: Quiet = nullcontext) -> Phone:
    """The first of the phones of that name."""
    return create_phones(name, quiet)[0]
