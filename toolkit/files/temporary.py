"""What is being written beside its place, and what killed predecessors left there.

Whoever writes holds a lock (flock(2)) on the file or directory; the kernel lets go of it however
the process ends. So what has one of our names and no lock is nobody's any more.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from toolkit.files.flags import NO_WAIT
from toolkit.files.location import Location, open_location
from toolkit.files.lock import lock
from toolkit.files.open_directory import OpenDirectory
from toolkit.files.removal import remove
from toolkit.files.user import is_own

_MARK = "dockerc"
_MAX_NAME = 100
_MAX_TRIES = 100


def new_file(location: Location) -> tuple[int, str]:
    """An empty file beside the location, hidden, mode 0600, and its name; raises OSError.

    It is locked for as long as the descriptor is open. What others left there goes first.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    return _locked(location, lambda name: location.open(name, flags))


def new_directory(location: Location) -> tuple[OpenDirectory, str]:
    """The same for a directory, mode 0700."""

    def make(name: str) -> int:
        location.mkdir(name, 0o700)
        directory = location.enter(name)
        assert directory.descriptor is not None
        status = os.fstat(directory.descriptor)
        ours = is_own(status) and status.st_mode & 0o777 == 0o700
        if not ours or directory.names():  # put in its place
            directory.close()
            raise OSError(f"somebody has replaced the directory {name} that was just made")
        return directory.descriptor

    if location.descriptor is not None:
        descriptor, name = _locked(location, make)
        return OpenDirectory(location.directory, descriptor), name
    # No locks, either: one that a killed process leaves there stays.
    name = _unfinished_name(location.name)
    location.mkdir(name, 0o700)
    return location.enter(name), name


def give_name(descriptor: int, location: Location) -> str:
    """The same for a file that has no name yet (O_TMPFILE, open(2)); raises OSError."""
    with contextlib.suppress(OSError):
        lock(descriptor, wait=True)
    name = _unfinished_name(location.name)
    _link(descriptor, name, location)
    return name


def take_free_place(descriptor: int, location: Location) -> bool:
    """Give a file that has no name the location's, at once: a process that is killed leaves nothing
    beside it. False where something has got that name; raises OSError."""
    try:
        _link(descriptor, location.name, location)
    except FileExistsError:
        return False
    return True


def _link(descriptor: int, name: str, location: Location) -> None:
    try:
        # Only with a directory's descriptor does Python call linkat(2), which follows the link.
        os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=location.descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, location.name) from None


def take_place(descriptor: int | None, name: str, location: Location) -> None:
    """Give the open file or directory, whose name that is, the location's; raises OSError.

    Where others can rename in that directory, something else may have got the name. None is for
    what had to be closed before: Windows renames nothing that is open.
    """
    if descriptor is not None and not location.holds(name, descriptor):
        raise OSError(f"somebody has moved or replaced {name} while it was being written")
    location.rename(name, location.name)


def must_be_closed() -> bool:
    """Whether a file cannot be renamed or removed while anybody has it open, as on Windows."""
    return os.open not in os.supports_dir_fd


def discard(descriptor: int | None, name: str, location: Location) -> None:
    """Remove what is not to stay, if the name is still its own; None is as above."""
    with contextlib.suppress(OSError):
        if descriptor is None or location.holds(name, descriptor):
            remove(location, name)


def sweep(directory: Path) -> None:
    """Remove what is left of those who were killed while they wrote anything there."""
    with contextlib.suppress(OSError), open_location(directory / "any") as location:
        _sweep(location, ".+")


def _sweep(location: Location, named: str) -> None:
    ours = re.compile(rf"\.{named}\.[0-9a-f]{{8}}\.{_MARK}", re.DOTALL)
    with contextlib.suppress(OSError):
        for name in location.names():
            if ours.fullmatch(name):
                with contextlib.suppress(OSError):
                    _remove_if_left(location, name)


def _unfinished_name(name: str) -> str:
    return f".{name[:_MAX_NAME]}.{os.urandom(4).hex()}.{_MARK}"


def _locked(location: Location, make: Callable[[str], int]) -> tuple[int, str]:
    _sweep(location, re.escape(location.name[:_MAX_NAME]))
    for _ in range(_MAX_TRIES):
        name = _unfinished_name(location.name)
        descriptor = make(name)
        # Where a filesystem has no locks, nobody gets one to sweep by.
        with contextlib.suppress(OSError):
            lock(descriptor, wait=True)
        if location.holds(name, descriptor):
            return descriptor, name
        os.close(descriptor)  # a sweep was quicker than our lock
    raise OSError("the temporary file is removed each time it is made")


def _remove_if_left(location: Location, name: str) -> None:
    """Raises OSError where somebody holds it, or nobody could."""
    descriptor = location.open(name, os.O_RDONLY | NO_WAIT)
    is_left = False
    try:
        status = os.fstat(descriptor)
        kind = stat.S_IFMT(status.st_mode)
        if is_own(status) and kind in (stat.S_IFREG, stat.S_IFDIR):
            lock(descriptor, wait=False)
            is_left = True
            if location.descriptor is not None:
                discard(descriptor, name, location)
    finally:
        os.close(descriptor)
    if is_left and location.descriptor is None:
        discard(None, name, location)
