"""A directory that is there whole or not at all: made beside, then renamed into place."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import DockercError, RefusedError
from toolkit.files.location import Location, open_location
from toolkit.files.open_directory import OpenDirectory
from toolkit.files.temporary import discard, new_directory, take_place


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[OpenDirectory]:
    """A new directory, mode 0700, that becomes `path` when the block ends well.

    On any failure nothing is left; what a killed process leaves goes when the next one writes
    there. Whoever works through it writes into this very directory, wherever others move it
    meanwhile. Raises DockercError when something other than an empty directory stands at
    `path`, or none can be made there.
    """
    with contextlib.ExitStack() as stack:
        try:
            location = stack.enter_context(open_location(path))
            _check_place(path, location)
            directory, name = new_directory(location)
        except OSError as error:
            raise DockercError(
                f"{path}: cannot write into {path.parent}: {error.strerror or error}"
            ) from None
        try:
            yield directory
            if directory.descriptor is None:
                with contextlib.suppress(FileNotFoundError):
                    location.rmdir(location.name)  # Windows renames over no directory
            take_place(directory.descriptor, name, location)
        except BaseException as error:
            discard(directory.descriptor, name, location)
            if isinstance(error, OSError):
                raise DockercError(f"{path}: {error.strerror or error}") from None
            raise
        finally:
            directory.close()


def _check_place(path: Path, location: Location) -> None:
    status = location.status(location.name)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        raise RefusedError(f"{path}: something is there already; give another name")
    there = location.enter(location.name)
    try:
        if there.names():
            raise RefusedError(f"{path}: the directory is not empty; give another name")
    finally:
        there.close()
