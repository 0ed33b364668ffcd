"""A directory that is there whole or not at all: made beside, then renamed into place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import DockercError
from toolkit.unfinished import new_directory, remove


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A new directory, mode 0700, that becomes `path` when the block ends well.

    On any failure nothing is left; what a killed process leaves goes when the next one writes
    there. Raises DockercError when something other than an empty directory stands at `path`, or
    none can be made there.
    """
    target = path.resolve()
    if target.is_dir():
        if any(target.iterdir()):
            raise DockercError(f"{path}: the directory is not empty; give another name")
    elif target.exists():
        raise DockercError(f"{path}: something is there already; give another name")
    try:
        descriptor, new = new_directory(target)
    except OSError as error:
        raise DockercError(f"{path}: cannot write into {target.parent}: {error.strerror}") from None
    try:
        yield new
        new.replace(target)
    except BaseException as error:
        remove(new)
        if isinstance(error, OSError):
            raise DockercError(f"{path}: {error.strerror or error}") from None
        raise
    finally:
        os.close(descriptor)
