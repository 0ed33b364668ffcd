"""A directory that is there whole or not at all: made beside, then renamed into place."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import DockercError, RefusedError
from toolkit.files.location import Location, open_location
from toolkit.files.temporary import discard, new_directory, take_place


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[int]:
    """A descriptor of a new directory, mode 0700, that becomes `path` when the block ends well.

    On any failure nothing is left; what a killed process leaves goes when the next one writes
    there. Whoever works through the descriptor writes into this very directory, wherever others
    move it meanwhile. Raises DockercError when something other than an empty directory stands at
    `path`, or none can be made there.
    """
    with contextlib.ExitStack() as stack:
        try:
            location = stack.enter_context(open_location(path))
            _check_place(path, location)
            descriptor, name = new_directory(location)
        except OSError as error:
            raise DockercError(
                f"{path}: cannot write into {path.parent}: {error.strerror or error}"
            ) from None
        try:
            yield descriptor
            take_place(descriptor, name, location)
        except BaseException as error:
            discard(descriptor, name, location)
            if isinstance(error, OSError):
                raise DockercError(f"{path}: {error.strerror or error}") from None
            raise
        finally:
            os.close(descriptor)


def make_directory(parent: int, name: str) -> int:
    """A new directory in an open one, mode 0700, opened; raises OSError."""
    os.mkdir(name, 0o700, dir_fd=parent)
    return open_directory(parent, name)


def open_directory(parent: int, name: str | bytes) -> int:
    """A directory of an open one, opened for reading; raises OSError, for a symlink too."""
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def write_file(parent: int, name: str, data: bytes) -> None:
    """A new file in an open directory, mode 0644 less the umask; raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(name, flags, 0o644, dir_fd=parent), "wb") as file:
        file.write(data)


def _check_place(path: Path, location: Location) -> None:
    status = location.status(location.name)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        raise RefusedError(f"{path}: something is there already; give another name")
    there = location.open(location.name, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if os.listdir(there):  # noqa: PTH208 - a descriptor
            raise RefusedError(f"{path}: the directory is not empty; give another name")
    finally:
        os.close(there)
