"""A consistent copy of a run directory, also while it is searched."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from mnas.files import RunDirectoryError
from mnas.search.run_directory import BEST_FILE, DATABASE, read_store
from mnas.search.weights import WEIGHTS_FOLDER, kept_weights


def copy_run(directory: Path, target: Path) -> int:
    """Copy a run: the store as it is at one moment, the best architecture, and the weights that are kept.

    Requests and locks are not copied.

    The copy is made under another name and then takes its own, so that a kill leaves no half of it there.

    Returns:
        The number of trials in the copy.

    Raises:
        RunDirectoryError: The target exists, or cannot be written.
        StoreError: The run cannot be read.
    """
    if target.exists() or target.is_symlink():
        raise RunDirectoryError(f"{target}: exists already; name a new directory")
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
    with read_store(directory) as store:
        try:
            draft.mkdir(parents=True)
            store.copy_to(draft / DATABASE)
            best = directory / BEST_FILE
            if best.is_file() and not best.is_symlink():
                shutil.copyfile(best, draft / BEST_FILE)
            for path in kept_weights(directory).values():
                (draft / WEIGHTS_FOLDER).mkdir(exist_ok=True)
                with suppress(FileNotFoundError):  # another trial has taken its place
                    shutil.copyfile(path, draft / WEIGHTS_FOLDER / path.name)
            with read_store(draft) as copied:
                trials = sum(copied.counts().values())
            os.rename(draft, target)
        except OSError as error:
            raise RunDirectoryError(f"{target}: cannot be written ({error.strerror}); choose another place") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return trials
