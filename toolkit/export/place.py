"""A directory that is there whole or not at all: made beside, then renamed into place."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import DockercError


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A new directory, mode 0700, that becomes `path` when the block ends well.

    On any failure nothing is left. Raises DockercError when something other than an empty
    directory stands at `path`, or none can be made there.
    """
    target = path.resolve()
    if target.is_dir():
        if any(target.iterdir()):
            raise DockercError(f"{path}: the directory is not empty; give another name")
    elif target.exists():
        raise DockercError(f"{path}: something is there already; give another name")
    new = target.parent / f".{target.name[:100]}.{os.urandom(4).hex()}"
    try:
        new.mkdir(0o700)
    except OSError as error:
        raise DockercError(f"{path}: cannot write into {target.parent}: {error.strerror}") from None
    try:
        yield new
        new.replace(target)
    except BaseException as error:
        _remove(new)
        if isinstance(error, OSError):
            raise DockercError(f"{path}: {error.strerror or error}") from None
        raise


def _remove(directory: Path) -> None:
    """Also what an ordinary user made of a tree with directories that nobody may enter."""
    for parent, directories, _ in os.walk(directory):
        for name in directories:
            with contextlib.suppress(OSError):
                path = Path(parent, name)
                if not path.is_symlink():
                    path.chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)
