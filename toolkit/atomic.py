"""Writing a file that is there whole or not at all: beside it, synced, then renamed over it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import DockercError
from toolkit.unfinished import give_name, new_file

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def atomic_file(path: Path, mode: int, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well; `mode` less the umask.

    On any failure nothing is left and what stood at `path` is untouched. A symlink is followed, as
    by `cp`. With `sync` that holds for a power failure, too; without, a new file is as safe from
    one as `cp` makes it, and what stands there is replaced by what is synced all the same.
    Raises DockercError when `path` cannot be written, OSError for what fails in between.
    """
    target = _target(path)
    try:
        descriptor, name = _new_file(target)
    except OSError as error:
        raise DockercError(f"{path}: cannot write into {target.parent}: {error.strerror}") from None
    try:
        with open(descriptor, "w+b") as file:
            yield file
            file.flush()
            if sync or target.exists():
                os.fsync(file.fileno())
            if name is None:
                name = give_name(file.fileno(), target)
            name.chmod(mode & ~_umask())
            name.replace(target)  # while its lock is held
    except BaseException as error:
        if name is not None:
            name.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise DockercError(
                f"{path}: {error.strerror}; free some space or choose another place"
            ) from None
        raise
    if sync:
        _sync_directory(target.parent)


def check_writable(path: Path) -> None:
    """Raise DockercError unless a file can be put at `path`: before work that would be in vain."""
    target = _target(path)
    if not target.parent.is_dir():
        raise DockercError(f"{path}: cannot write there: {target.parent} is no directory")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise DockercError(f"{path}: cannot write there: no permission for {target.parent}")


def _target(path: Path) -> Path:
    """Where a file for `path` goes; raises DockercError when none may."""
    if path.is_symlink() and _is_planted(path):
        raise DockercError(
            f"{path}: cannot write there: it is another user's symlink in a directory of everyone;"
            " give another name"
        )
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise DockercError(f"{path}: cannot write there: it is no regular file; give another name")
    return target


def _is_planted(link: Path) -> bool:
    """What the kernel refuses to follow in /tmp (fs.protected_symlinks), and we resolve ourselves.

    Such a link would choose which of our own files is overwritten.
    """
    directory = link.parent.stat()
    everyones = stat.S_ISVTX | stat.S_IWOTH
    return directory.st_mode & everyones == everyones and link.lstat().st_uid not in (
        os.geteuid(),
        directory.st_uid,
    )


def _new_file(target: Path) -> tuple[int, Path | None]:
    """An empty file beside `target`; where the system can, one without a name.

    A nameless file (O_TMPFILE, open(2)) goes by itself when we are killed.
    """
    with contextlib.suppress(OSError, AttributeError):
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        descriptor = os.open(target.parent, flags, 0o600)
        if Path(f"/proc/self/fd/{descriptor}").exists():
            return descriptor, None
        os.close(descriptor)  # without /proc it could never be given a name
    return new_file(target)


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
