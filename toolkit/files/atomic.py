"""Writing a file that is there whole or not at all: beside it, synced, then renamed over it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from toolkit.errors import DockercError, RefusedError
from toolkit.files.flags import NAMELESS
from toolkit.files.location import Location, open_location
from toolkit.files.temporary import discard, give_name, new_file, take_free_place, take_place
from toolkit.files.user import change_owner

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def atomic_file(
    path: Path,
    mode: int,
    *,
    sync: bool = True,
    like: os.stat_result | None = None,
    mtime: int | None = None,
    source: BinaryIO | None = None,
) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well; `mode` less the umask.

    On any failure nothing is left and what stood at `path` is untouched. A symlink is followed, as
    by `cp`. With `sync` that holds for a power failure, too; without, a new file is as safe from
    one as `cp` makes it, and what stands there is replaced by what is synced all the same.
    `like` is a file whose mode, owner and times the new one gets, as by `cp -p`; `mtime` is
    a time for both of its own, in seconds since 1970. `source` is a file
    that may be `path` and is read meanwhile: Windows replaces none that is open, so there it is
    closed before.
    Whoever can rename in that directory gets nothing of ours but this file (CWE-367).
    Raises DockercError when `path` cannot be written, OSError for what fails in between.
    """
    with contextlib.ExitStack() as stack:
        try:
            location = stack.enter_context(open_location(path))
            is_new = _check_place(path, location)
            descriptor, name = _new_file(location)
        except OSError as error:
            raise DockercError(
                f"{path}: cannot write into {path.parent}: {error.strerror or error}"
            ) from None
        try:
            with open(descriptor, "w+b") as file:
                try:
                    yield file
                    file.flush()
                    if sync or not is_new:
                        os.fsync(descriptor)
                    held = _held(location, file, source)
                    _describe(location, name, held, mode & ~_umask(), like, mtime)
                    if name is not None or not is_new or not take_free_place(descriptor, location):
                        name = name or give_name(descriptor, location)
                        take_place(held, name, location)  # while its lock is held
                except BaseException:
                    if name is not None:
                        discard(_held(location, file, None), name, location)
                    raise
        except OSError as error:
            if error.errno in _FULL:
                raise DockercError(
                    f"{path}: {error.strerror}; free some space or choose another place"
                ) from None
            if error.errno is None:
                raise DockercError(f"{path}: {error}") from None
            raise
        if sync:
            location.sync()


def check_writable(path: Path) -> None:
    """Raise DockercError unless a file can be put at `path`: before work that would be in vain."""
    try:
        with open_location(path) as location:
            _check_place(path, location)
            if not location.is_writable():
                raise PermissionError
    except PermissionError:
        raise RefusedError(f"{path}: cannot write there: no permission for {path.parent}") from None
    except OSError:
        raise DockercError(f"{path}: cannot write there: {path.parent} is no directory") from None


def _check_place(path: Path, location: Location) -> bool:
    """Whether nothing stands there; raises DockercError for what no file can replace."""
    status = location.status(location.name)
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise RefusedError(f"{path}: cannot write there: it is no regular file; give another name")
    return status is None


def _new_file(location: Location) -> tuple[int, str | None]:
    """An empty file beside the location; where the system can, one without a name.

    A nameless file (O_TMPFILE, open(2)) goes by itself when we are killed.
    """
    if NAMELESS:
        with contextlib.suppress(OSError):
            descriptor = location.open(".", NAMELESS | os.O_RDWR)
            if Path(f"/proc/self/fd/{descriptor}").exists():
                return descriptor, None
            os.close(descriptor)  # without /proc it could never be given a name
    return new_file(location)


def _held(location: Location, file: BinaryIO, source: BinaryIO | None) -> int | None:
    """The file's descriptor; None where it has to be closed before it can be renamed or removed."""
    if location.descriptor is not None:
        return file.fileno()
    for each in (file, source):
        with contextlib.suppress(OSError):  # all of the file is written already, or not wanted
            if each:
                each.close()
    return None


def _describe(
    location: Location,
    name: str | None,
    held: int | None,
    mode: int,
    like: os.stat_result | None,
    mtime: int | None,
) -> None:
    # By name only in a system whose directories others cannot rename in while we do.
    target: Any = location.directory / (name or "") if held is None else held
    os.chmod(target, mode)  # noqa: PTH101
    if mtime is not None:
        os.utime(target, (mtime, mtime))
    if like is None:
        return
    # Before the mode: a change of owner takes set-id bits away.
    with contextlib.suppress(PermissionError):
        change_owner(target, like.st_uid, like.st_gid)
    os.chmod(target, like.st_mode & 0o777)  # noqa: PTH101
    os.utime(target, ns=(like.st_atime_ns, like.st_mtime_ns))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return stat.S_IMODE(mask)
