"""Packages of mnas that a user's own folder or file hides.

`search_space`, `controllers` and `latency` are installed next to `mnas`. A folder of one of these names in the working
directory is found first by Python, and mnas would fail later with an error that does not say why.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("search_space", "controllers", "latency")


def check_packages() -> None:
    """Raise ImportError if one of our packages is missing or hidden; imports none of them."""
    home = Path(__file__).resolve().parent.parent
    for package in _PACKAGES:
        spec = find_spec(package)
        if spec is None:
            raise ImportError(f"mnas needs its package {package!r} in {home}, and it is not there; install mnas again")
        found = Path(spec.origin) if spec.origin else Path(next(iter(spec.submodule_search_locations or ("",))))
        own = home / package
        if found.resolve().parent != own:
            hiding = found.parent if found.name == "__init__.py" else found
            raise ImportError(
                f"{hiding} hides the package {package!r} of mnas ({own}); rename it, or start Python in another folder"
            )
