"""Removing a tree: what is in it, and nothing that is mounted into it.

Somebody's directory may be bound into the tree that goes. What lies on another mount is not the
tree's, so nothing there is touched, nor is the directory that it is mounted on.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from toolkit.files.flags import DIRECTORY, NO_FOLLOW, PATH_ONLY
from toolkit.files.location import Location

_HELD = PATH_ONLY | DIRECTORY | NO_FOLLOW
_READ = os.O_RDONLY | DIRECTORY | NO_FOLLOW


def remove(location: Location, name: str) -> None:
    """Remove a file, or a directory with all that is in it, as far as may be."""
    if location.descriptor is None:
        _remove_by_path(location.directory / name)
        return
    try:
        top = _enter(location.descriptor, name, None)
    except NotADirectoryError:
        location.unlink(name)
        return
    except FileNotFoundError:
        return
    assert top is not None
    _empty(top)
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=location.descriptor)


def _empty(current: int) -> None:
    """Remove what is in an open directory, which is closed at the end.

    One descriptor at a time, since trees are deeper than descriptors are many; the way back is
    `..`, believed only while it leads to the directory that we came from.
    """
    mount = _mount(current)
    trail: list[tuple[str, os.stat_result, list[str]]] = []
    try:
        inner = _remove_files(current)
        while inner or trail:
            if inner:
                name = inner.pop()
                with contextlib.suppress(OSError):
                    if (child := _enter(current, name, mount)) is not None:
                        trail.append((name, os.fstat(current), inner))
                        os.close(current)
                        current = child
                        inner = _remove_files(current)
                continue
            name, before, inner = trail.pop()
            parent = os.open("..", _READ, dir_fd=current)
            os.close(current)
            current = parent
            if not os.path.samestat(os.fstat(current), before):
                return  # somebody has moved it elsewhere
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=current)
    finally:
        os.close(current)


def _remove_files(directory: int) -> list[str]:
    """Unlink all but directories, whose names are returned."""
    inner = []
    with os.scandir(directory) as entries:
        listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in listed:
        if is_directory:
            inner.append(name)
        else:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
    return inner


def _enter(parent: int, name: str, mount: str | None) -> int | None:
    """A directory opened for reading; None when it is on another mount than `mount`.

    An ordinary user's tree may have directories that not even they may enter.
    """
    held = os.open(name, _HELD, dir_fd=parent)
    try:
        if mount is not None and _mount(held) != mount:
            return None
        if os.fstat(held).st_mode & 0o700 != 0o700:
            with contextlib.suppress(OSError):
                os.chmod(f"/proc/self/fd/{held}", 0o700)  # noqa: PTH101
        return os.open(".", _READ, dir_fd=held)
    finally:
        os.close(held)


def _mount(descriptor: int) -> str:
    """The mount that it is on (proc(5), /proc/PID/fdinfo); without /proc, its filesystem."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
            if line.startswith("mnt_id:"):
                return line
    return f"device {os.fstat(descriptor).st_dev}"


def _remove_by_path(path: Path) -> None:
    """Where the system has no openat(2)."""
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
