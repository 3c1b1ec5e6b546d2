"""Phones by name."""

from __future__ import annotations

from contextlib import nullcontext

from latency.errors import PhoneError
from latency.host import HostPhone, Quiet
from latency.phone import Phone


def create_phone(name: str, core: int | None = None, quiet: Quiet = nullcontext) -> Phone:
    """The phone of that name; the caller closes it. `host` is this machine (see `HostPhone`).

    Raises PhoneError (`phone_unknown`) for another name.
    """
    if name == "host":
        return HostPhone(name, core, quiet)
    raise PhoneError("phone_unknown", f"no phone is called {name!r}; known: 'host' (this machine)")
