"""Writing a file that is there whole or not at all: beside it, synced, then renamed over it."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import DockercError


@contextlib.contextmanager
def atomic_file(path: Path, mode: int) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well; `mode` less the umask.

    On any failure nothing is left and what stood at `path` is untouched. A symlink is followed, as
    by `cp`. Raises DockercError when `path` cannot be written, OSError for what fails in between.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise DockercError(f"{path}: cannot write there: it is no regular file; give another name")
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    except OSError as error:
        raise DockercError(f"{path}: cannot write into {target.parent}: {error.strerror}") from None
    temporary = Path(name)
    try:
        with open(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode & ~_umask())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(target.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return stat.S_IMODE(mask)


def _sync_directory(path: Path) -> None:
    """Make the rename last; systems that cannot open a directory do without."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
