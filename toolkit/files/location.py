"""Where a file is to be written: a name in a directory that is held open.

In a directory of other users, names can be swapped at any moment, a directory on the way as well.
The directory that was opened stays the one that was looked at, so whatever is done after that goes
by its descriptor and a name without slashes (openat(2), "Rationale for openat()").
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import DockercError, RefusedError
from toolkit.files.flags import BINARY, DIRECTORY, NO_FOLLOW, PATH_ONLY
from toolkit.files.open_directory import OpenDirectory
from toolkit.files.user import user_id

_MAX_LINKS = 40
"""As many as the kernel follows in one path (path_resolution(7))."""
_HELD = PATH_ONLY | DIRECTORY
_READ = os.O_RDONLY | DIRECTORY


@dataclass(frozen=True)
class Location:
    """`name` in `directory`, whose descriptor is None where the system has no openat(2).

    The methods take the name of anything in that directory, follow no link, and raise OSError.
    """

    directory: Path
    name: str
    descriptor: int | None

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """A descriptor of it."""
        flags |= NO_FOLLOW | BINARY
        return os.open(self._path(name), flags, mode, dir_fd=self.descriptor)

    def status(self, name: str) -> os.stat_result | None:
        """What stands there; None when nothing does."""
        try:
            return os.stat(self._path(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def holds(self, name: str, descriptor: int) -> bool:
        """Whether the name is that of the open file."""
        status = self.status(name)
        return status is not None and os.path.samestat(status, os.fstat(descriptor))

    def mkdir(self, name: str, mode: int) -> None:
        """Make a directory."""
        os.mkdir(self._path(name), mode, dir_fd=self.descriptor)

    def enter(self, name: str) -> OpenDirectory:
        """A directory, opened."""
        return OpenDirectory(self.directory, self.descriptor).enter(name)

    def rmdir(self, name: str) -> None:
        """Remove an empty directory."""
        os.rmdir(self._path(name), dir_fd=self.descriptor)

    def rename(self, old: str, new: str) -> None:
        """Rename within the directory, over what has the new name."""
        ends = {"src_dir_fd": self.descriptor, "dst_dir_fd": self.descriptor}
        os.replace(self._path(old), self._path(new), **ends)  # noqa: PTH105

    def unlink(self, name: str) -> None:
        """Remove the name of anything but a directory."""
        os.unlink(self._path(name), dir_fd=self.descriptor)

    def names(self) -> list[str]:
        """All names in the directory."""
        where = self.directory if self.descriptor is None else self.descriptor
        return os.listdir(where)  # noqa: PTH208 - a descriptor

    def is_writable(self) -> bool:
        """Whether names can be made there."""
        return os.access(self._path("."), os.W_OK | os.X_OK, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Make what was renamed last, where the system can."""
        if self.descriptor is not None:
            with contextlib.suppress(OSError):
                os.fsync(self.descriptor)

    def _path(self, name: str) -> str:
        return name if self.descriptor is not None else str(self.directory / name)


@contextlib.contextmanager
def open_location(path: Path) -> Iterator[Location]:
    """Where `path` leads, symlinks followed, the last one too; nothing needs to stand there.

    Raises DockercError for a symlink that another user put into a directory of everyone, OSError
    where there is no such directory.
    """
    if os.open not in os.supports_dir_fd:
        target = path.resolve()
        if not target.parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is no directory", str(target.parent))
        yield Location(target.parent, target.name, None)
        return
    if path.name in ("", ".."):
        path = path.resolve()
    descriptor, name = _walk(path)
    try:
        with contextlib.suppress(PermissionError):  # who may not list it may write there still
            descriptor = _replaced(descriptor, os.open(".", _READ, dir_fd=descriptor))
        yield Location(path.parent, name, descriptor)
    finally:
        os.close(descriptor)


def _walk(path: Path) -> tuple[int, str]:
    """The directory, opened step by step, and the name in it."""
    parts = _parts(str(path))
    current = os.open("/" if path.is_absolute() else ".", _HELD)
    links = 0
    try:
        while True:
            part = parts.pop()
            if target := _link(current, part, path, is_last=not parts):
                links += 1
                if links > _MAX_LINKS:
                    raise DockercError(f"{path}: it runs through a loop of symlinks")
                parts += _parts(target)
                if target.startswith("/"):
                    current = _replaced(current, os.open("/", _HELD))
            elif parts:
                following = os.open(part, _HELD | NO_FOLLOW, dir_fd=current)
                current = _replaced(current, following)
            elif part in (".", ".."):  # where a link leads
                raise RefusedError(f"{path}: it leads to a directory; give another name")
            else:
                return current, part
            if not parts:
                raise RefusedError(f"{path}: it leads to a directory; give another name")
    except BaseException:
        os.close(current)
        raise


def _parts(path: str) -> list[str]:
    """The components, last first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _replaced(old: int, new: int) -> int:
    os.close(old)
    return new


def _link(directory: int, name: str, path: Path, *, is_last: bool) -> str | None:
    """The target of a symlink; None for what is none, or not there.

    Raises DockercError for one that another user made to choose which of our files is replaced.
    """
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISLNK(status.st_mode):
        return None
    around = os.fstat(directory)
    # What the kernel refuses to follow in /tmp (fs.protected_symlinks), and we follow ourselves.
    everyones = around.st_mode & stat.S_ISVTX and around.st_mode & stat.S_IWOTH
    planted = everyones and status.st_uid not in (user_id(), around.st_uid)
    # And the last one in any directory where others can put one while we write.
    trusted = (user_id(), 0)
    others = around.st_uid not in trusted or around.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if planted or (is_last and others and status.st_uid not in trusted):
        raise RefusedError(
            f"{path}: cannot write there: {name} is another user's symlink; give another name"
        )
    return os.readlink(name, dir_fd=directory)
