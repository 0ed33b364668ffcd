"""A Python that lacks what Windows or macOS lack: DOCKERC_TEST_HOST=windows or macos.

With this directory in PYTHONPATH, Python imports this module first. Modules and functions are taken
away that the system does not have, and those that remain refuse what they refuse there: on Windows
an open file is neither renamed nor removed, a directory is not opened, text and binary files
differ, and some names cannot be; on both, names that differ only in case are one name. Not
imitated: backslashes and drives, and os.name, for which the standard library itself would need
another system.
"""

from __future__ import annotations

import builtins
import errno
import io
import logging.handlers  # noqa: F401 - it and these look at the system when they are imported
import os
import pathlib  # noqa: F401 - in Python 3.10 it keeps functions of os that it finds
import platform
import random  # noqa: F401
import select
import selectors  # noqa: F401
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterable
from typing import Any

_listdir, _readlink = os.listdir, os.readlink
HOST = os.environ.get("DOCKERC_TEST_HOST", "")
FAR = 1 << 40
"""Where locked bytes are, which no file has."""
_BINARY = 1 << 30
_FORBIDDEN = frozenset('<>:"|?*\\')
_LINUX = [
    "O_PATH", "O_TMPFILE", "O_NOATIME", "O_DIRECT", "O_LARGEFILE", "setxattr", "getxattr",
    "listxattr", "removexattr", "XATTR_CREATE", "XATTR_REPLACE", "copy_file_range",
    "posix_fadvise", "posix_fallocate", "memfd_create", "MFD_CLOEXEC", "sched_getaffinity",
    "sched_setaffinity", "eventfd", "splice", "unshare", "setns", "pidfd_open", "pipe2",
    "getrandom", "sendfile", "fdatasync",
]  # fmt: skip
"""Of os: what macOS does not have either."""
_UNIX = [
    "fork", "forkpty", "chown", "fchown", "lchown", "fchmod", "lchmod", "chroot", "mknod",
    "mkfifo", "major", "minor", "makedev", "getuid", "geteuid", "getgid", "getegid",
    "getgroups", "getgrouplist", "setuid", "seteuid", "setgid", "setegid", "setgroups",
    "getresuid", "getresgid", "setresuid", "setresgid", "getpgid", "getpgrp", "setpgid",
    "setpgrp", "getsid", "setsid", "statvfs", "fstatvfs", "O_NOFOLLOW", "O_CLOEXEC",
    "O_DIRECTORY", "O_NONBLOCK", "O_NOCTTY", "O_SYNC", "O_DSYNC", "O_ASYNC", "O_ACCMODE",
    "O_NDELAY", "posix_spawn", "posix_spawnp", "pread", "pwrite", "preadv", "pwritev",
    "readv", "writev", "fchdir", "sync", "SEEK_DATA", "SEEK_HOLE", "lockf", "nice",
    "getpriority", "setpriority", "sched_yield", "sched_get_priority_max", "wait", "wait3",
    "wait4", "waitid", "WNOHANG", "WIFEXITED", "WEXITSTATUS", "WIFSIGNALED", "WTERMSIG",
    "uname", "sysconf", "pathconf", "fpathconf", "confstr", "ctermid", "openpty", "ttyname",
    "tcgetpgrp", "tcsetpgrp", "getloadavg", "killpg", "environb", "getenvb",
    "register_at_fork",
]  # fmt: skip
"""Of os: what Windows does not have, some of it not before Python 3.13."""
_MODULES = [
    "fcntl", "pwd", "grp", "termios", "resource", "tty", "pty", "syslog", "crypt", "spwd",
    "nis", "readline",
]  # fmt: skip
_SIGNALS = {"SIGINT", "SIGTERM", "SIGABRT", "SIGFPE", "SIGILL", "SIGSEGV", "SIG_DFL", "SIG_IGN"}
_OF_SIGNAL = [
    "pthread_sigmask", "pthread_kill", "setitimer", "getitimer", "alarm", "pause",
    "sigwait", "sigwaitinfo", "sigtimedwait", "sigpending", "siginterrupt",
]  # fmt: skip


def forget(module: types.ModuleType, names: Iterable[str]) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def wrap(module: Any, name: str, check: Callable[..., None]) -> None:
    """Have a function called with what `check` does not raise for."""
    function = getattr(module, name)

    def checked(*arguments: Any, **named: Any) -> Any:
        check(*arguments, **named)
        return function(*arguments, **named)

    checked.__name__ = name
    setattr(module, name, checked)
    for supported in (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks):
        if function in supported:
            supported.add(checked)


class Absent:
    """Finds that a module is not there."""

    def find_spec(self, name: str, *_: object) -> None:
        if name in _MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def no_descriptors(*arguments: Any, **named: Any) -> None:
    """Windows takes paths only, and follows every link."""
    if any(named.get(key) is not None for key in ("dir_fd", "src_dir_fd", "dst_dir_fd")):
        raise NotImplementedError("dir_fd unavailable on this platform")
    if isinstance(arguments[0], int):
        raise TypeError("path should be string, bytes or os.PathLike, not int")


def no_nofollow(*arguments: Any, **named: Any) -> None:
    no_descriptors(*arguments, **named)
    if named.get("follow_symlinks") is False:
        raise NotImplementedError("follow_symlinks unavailable on this platform")


def good_name(path: Any, *_: object, **__: object) -> None:
    if isinstance(path, int):
        return
    name = os.fsdecode(path)
    if any(part[-1:] in (" ", ".") and part.strip(".") for part in name.split("/")):
        raise OSError(errno.EINVAL, "Invalid argument", name)
    if _FORBIDDEN & set(name):
        raise OSError(errno.EINVAL, "Invalid argument", name)


def no_twin(path: Any, *_: object, dir_fd: int | None = None, **__: object) -> None:
    """A name that differs only in case is there already, where something new is to be made."""
    directory, name = os.path.split(os.fsdecode(path))
    held = f"/proc/self/fd/{dir_fd}" if dir_fd is not None else directory or "."
    try:
        twins = [each for each in _listdir(held) if each.lower() == name.lower()]
    except OSError:
        return
    if twins and twins != [name]:
        raise FileExistsError(errno.EEXIST, "File exists", os.fspath(path))


def no_twin_file(path: Any, flags: int, *_: object, dir_fd: int | None = None) -> None:
    if flags & os.O_EXCL:
        no_twin(path, dir_fd=dir_fd)


def _mode(path: Any) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def not_open(*paths: Any, **_: object) -> None:
    """WinError 32: the process cannot access the file because it is being used."""
    for path in paths:
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            _none_open_in(os.path.realpath(path))
            continue
        if stat.S_ISREG(status.st_mode) and not status.st_mode & 0o200:
            raise PermissionError(errno.EACCES, "Access is denied", os.fspath(path))
        for descriptor in _listdir("/proc/self/fd"):
            try:
                held = os.fstat(int(descriptor))
            except OSError:
                continue
            if os.path.samestat(held, status):
                raise PermissionError(errno.EACCES, "The file is being used", os.fspath(path))


def _none_open_in(directory: str) -> None:
    """Nor is a directory renamed or removed while something in it is open."""
    for descriptor in _listdir("/proc/self/fd"):
        try:
            open_file = _readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        if open_file.startswith(f"{directory}/"):
            raise PermissionError(errno.EACCES, "Access is denied", directory)


def windows() -> None:
    import fcntl

    vfs = os.statvfs
    sys.meta_path.insert(0, Absent())  # type: ignore[arg-type]
    for name in _MODULES:
        sys.modules.pop(name, None)
    _lock_bytes(fcntl)
    # What it says of itself; its system stays, for libraries that would call Windows.
    machine = os.environ.get("DOCKERC_TEST_MACHINE", "AMD64")
    platform._uname_cache = platform.uname()._replace(machine=machine)  # type: ignore[attr-defined]
    forget(os, [*_LINUX, *_UNIX])
    subprocess.signal = types.SimpleNamespace(**vars(signal))  # type: ignore[attr-defined]
    subprocess._USE_POSIX_SPAWN = False  # type: ignore[attr-defined]
    forget(signal, [n for n in dir(signal) if n[:3] == "SIG" and n not in _SIGNALS])
    forget(signal, _OF_SIGNAL)
    pair, family = socket.socketpair, socket.AF_UNIX
    socket.socketpair = lambda *_: pair(family)  # type: ignore[assignment]
    forget(socket, ["AF_UNIX"])
    forget(select, ["poll", "epoll", "kqueue"])
    for supported in (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks):
        supported.clear()
    os.supports_fd.add(os.stat)
    os.supports_fd.add(os.truncate)
    os.supports_follow_symlinks.add(os.stat)
    for name in ("mkdir", "rmdir", "unlink", "remove", "readlink", "symlink", "rename", "replace"):
        wrap(os, name, no_descriptors)
    for name in ("chmod", "utime", "link", "access"):
        wrap(os, name, no_nofollow)
    for name in ("listdir", "scandir"):
        wrap(os, name, lambda path=".", *_: no_descriptors(path))
    for name in ("unlink", "remove", "rename", "replace"):
        wrap(os, name, not_open)
    for name in ("mkdir", "rename", "replace", "symlink", "link"):
        wrap(os, name, lambda *paths, **_: [good_name(path) for path in paths] and None)
    wrap(os, "rename", _nothing_there)
    wrap(os, "mkdir", no_twin)
    _open_files(fcntl)
    wrap(os, "replace", _no_directory)
    _hide_proc()
    tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # type: ignore[misc,assignment]
    tempfile._bin_openflags |= _BINARY  # type: ignore[attr-defined]

    def disk_usage(path: Any) -> Any:
        no_descriptors(path)
        found = vfs(path)
        return types.SimpleNamespace(free=found.f_bavail * found.f_frsize)

    shutil.disk_usage = disk_usage
    shutil._use_fd_functions = False  # type: ignore[attr-defined]


def _nothing_there(_: Any, new: Any, **__: object) -> None:
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, "Cannot create a file that already exists", new)


def _no_directory(_: Any, new: Any, **__: object) -> None:
    if stat.S_ISDIR(_mode(new)):
        raise PermissionError(errno.EACCES, "Access is denied", new)


def _asked_by() -> str:
    """The module that called a function of os."""
    frame = sys._getframe(1)
    while frame.f_globals is globals() and frame.f_back:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


def _open_files(fcntl: types.ModuleType) -> None:
    os.O_BINARY = _BINARY  # type: ignore[attr-defined]
    really, fsync = os.open, os.fsync

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        no_descriptors(path, dir_fd=dir_fd)
        good_name(path)
        if _asked_by().startswith("toolkit") and path != os.devnull:
            assert flags & _BINARY, f"{path}: opened as text"
        if stat.S_ISDIR(_mode(path)):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return really(path, flags & ~_BINARY, mode)

    def synced(descriptor: int) -> None:
        if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EBADF, "Bad file descriptor")
        fsync(descriptor)

    os.open, os.fsync = opened, synced  # type: ignore[assignment]
    wrap(os, "open", no_twin_file)
    for module in (builtins, io):
        wrap(module, "open", good_name)


def _lock_bytes(fcntl: types.ModuleType) -> None:
    """A module msvcrt with locking(), by locks of Linux that belong to the open file, too."""

    def locking(descriptor: int, mode: int, size: int) -> None:
        where = os.lseek(descriptor, 0, os.SEEK_CUR)
        assert where >= FAR and size == 1, "Windows lets nobody else read what is locked"
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None

    module = types.ModuleType("msvcrt")
    vars(module).update(locking=locking, LK_NBLCK=2)
    sys.modules["msvcrt"] = module


def _hide_proc() -> None:
    def no_proc(path: Any = ".", *_: object, **__: object) -> None:
        if not isinstance(path, int) and os.fsdecode(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    for name in ("open", "stat", "lstat", "listdir", "scandir", "access", "readlink", "link"):
        wrap(os, name, no_proc)
    for module in (builtins, io):
        wrap(module, "open", no_proc)


def macos() -> None:
    tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]
    forget(os, _LINUX)
    _hide_proc()
    wrap(os, "open", no_twin_file)
    wrap(os, "mkdir", no_twin)
    for name in ("mkfifo", "mknod"):
        os.supports_dir_fd.discard(getattr(os, name))
        wrap(os, name, no_descriptors)


def only_portable_programs(_: Any, arguments: Any, *__: object, **___: object) -> None:
    """Executables for Linux do not start, and its programs are not there."""
    program = arguments if isinstance(arguments, str | bytes) else arguments[0]
    name = os.path.basename(os.fsdecode(program))  # noqa: PTH119
    if not name.startswith(("python", "qemu-")):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)


if HOST:
    wrap(subprocess.Popen, "__init__", only_portable_programs)
    {"windows": windows, "macos": macos}[HOST]()
