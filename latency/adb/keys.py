"""The RSA keys by which phones know this host.

They are kept where adb keeps them, and in its form.

A phone that has accepted this user's adb shows no second prompt, and the other way round.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from latency.errors import ToolError
from latency.user_folders import home_folder
from mnas.documents.user_paths import user_path


def load_keys(path: Path | None = None) -> list[Any]:
    """Return the signers (adb-shell's) to offer to a phone, in order.

    Args:
        path: The key to use alone. If None: ~/.android/adbkey, which is made if it does not exist, then the keys that
            ADB_VENDOR_KEYS names (key files or folders of them, separated by colons).

    Raises:
        ToolError: `adb_keys`.
    """
    if path is not None:
        return [_load(path)]
    own = home_folder() / ".android" / "adbkey"
    if not own.exists():
        make_key(own)
    return [_load(own), *(_load(path) for path in _vendor_keys())]


def make_key(path: Path) -> None:
    """Make a key pair, `path` and `path`.pub.

    Keep a pair that another process makes meanwhile.

    Raises:
        ToolError: `adb_keys`.
    """
    from adb_shell.auth.keygen import keygen

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only its owner can read the folder, so only its owner can read the key, from its first byte on.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / "adbkey"
            keygen(str(made))
            made.chmod(0o600)
            try:
                os.link(made, path)
            except FileExistsError:
                return
            os.replace(made.with_suffix(".pub"), _public(path))
    except OSError as error:
        raise ToolError("adb_keys", f"cannot make the adb key {path}: {error}") from error


def _vendor_keys() -> list[Path]:
    found: list[Path] = []
    for name in filter(None, os.environ.get("ADB_VENDOR_KEYS", "").split(os.pathsep)):
        path = user_path(name)
        found += sorted(path.glob("*.adb_key")) if path.is_dir() else [path]
    return found


def _load(path: Path) -> Any:
    from adb_shell.auth.sign_cryptography import CryptographySigner

    try:
        if not _public(path).exists():  # adb itself does not need it.
            _derive_public(path)
        return CryptographySigner(str(path))
    except (OSError, ValueError, TypeError) as error:
        raise ToolError(
            "adb_keys", f"cannot use the adb key {path}: {error}; give another file, or move it away to get a new one"
        ) from error


def _derive_public(path: Path) -> None:
    from adb_shell.auth.keygen import write_public_keyfile

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        derived = Path(folder) / "adbkey.pub"
        write_public_keyfile(str(path), str(derived))
        os.replace(derived, _public(path))


def _public(path: Path) -> Path:
    return path.with_name(path.name + ".pub")
