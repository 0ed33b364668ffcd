"""What is being written beside its place, and what killed predecessors left there.

Whoever writes holds a lock (flock(2)) on the file or directory; the kernel lets go of it however
the process ends. So what has one of our names and no lock is nobody's any more.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

_MARK = "dockerc"
_MAX_NAME = 100
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)


def new_file(target: Path) -> tuple[int, Path]:
    """An empty file beside `target`, hidden, mode 0600, and its name; raises OSError.

    It is locked for as long as the descriptor is open. What others left there goes first.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    return _locked(target, lambda path: os.open(path, flags, 0o600))


def new_directory(target: Path) -> tuple[int, Path]:
    """The same for a directory, mode 0700."""

    def make(path: Path) -> int:
        path.mkdir(0o700)
        return os.open(path, _READ)

    return _locked(target, make)


def give_name(descriptor: int, target: Path) -> Path:
    """The same for a file that has no name yet (O_TMPFILE, open(2)); raises OSError."""
    with contextlib.suppress(OSError):
        _lock(descriptor, wait=True)
    name = _unfinished_name(target)
    directory = os.open(name.parent, os.O_RDONLY)
    try:
        # Only with a directory's descriptor does Python call linkat(2), which follows the link.
        os.link(f"/proc/self/fd/{descriptor}", name.name, dst_dir_fd=directory)
    finally:
        os.close(directory)
    return name


def remove(path: Path) -> None:
    """Remove a file, or a tree with all that is in it, as far as may be."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # An ordinary user's tree may have directories that not even they may enter.
    for parent, directories, _ in os.walk(path):
        for directory in (Path(parent, name) for name in directories):
            with contextlib.suppress(OSError):
                if not directory.is_symlink():
                    directory.chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)


def _unfinished_name(target: Path) -> Path:
    return target.parent / f".{target.name[:_MAX_NAME]}.{os.urandom(4).hex()}.{_MARK}"


def _locked(target: Path, make: Callable[[Path], int]) -> tuple[int, Path]:
    sweep(target.parent, target.name)
    while True:
        path = _unfinished_name(target)
        descriptor = make(path)
        # Where a filesystem has no locks, nobody gets one to sweep by.
        with contextlib.suppress(OSError):
            _lock(descriptor, wait=True)
        if _is_at(path, descriptor):
            return descriptor, path
        os.close(descriptor)  # a sweep was quicker than our lock


def sweep(directory: Path, name: str | None = None) -> None:
    """Remove what is left of those who were killed while they wrote `name`, or anything, there."""
    if sys.platform == "win32":
        return
    named = ".+" if name is None else re.escape(name[:_MAX_NAME])
    ours = re.compile(rf"\.{named}\.[0-9a-f]{{8}}\.{_MARK}", re.DOTALL)
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for path in [Path(entry.path) for entry in entries if ours.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):
                _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    """Raises OSError where somebody holds it, or nobody could."""
    descriptor = os.open(path, _READ | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        kind = stat.S_IFMT(status.st_mode)
        if status.st_uid == os.geteuid() and kind in (stat.S_IFREG, stat.S_IFDIR):
            _lock(descriptor, wait=False)
            if _is_at(path, descriptor):
                remove(path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> None:
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
