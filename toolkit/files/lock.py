"""Locks on open files, which go however the process ends: flock(2), or on Windows LockFile.

Libraries for this, such as filelock, lock a file beside the one that is meant and leave it there.
"""

from __future__ import annotations

import errno
import os
import time
from importlib import import_module
from typing import Any

_BYTE = 1 << 40
"""The byte that is locked on Windows: nobody else may read or write it, so it is none of a file's
(LockFile takes bytes beyond the end)."""
_PAUSE = 0.05


def lock(descriptor: int, *, wait: bool) -> None:
    """Lock it for us alone, until it is closed; raises OSError, if somebody else has it and we are
    not to wait, BlockingIOError."""
    if fcntl := _module("fcntl"):
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return
    msvcrt = import_module("msvcrt")
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        while True:
            os.lseek(descriptor, _BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return
            except PermissionError:
                if not wait:
                    raise BlockingIOError(errno.EAGAIN, "somebody else has locked it") from None
            time.sleep(_PAUSE)
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)


def is_locked(descriptor: int) -> bool:
    """Whether somebody else has locked it for themselves; raises OSError."""
    fcntl = import_module("fcntl")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return None
