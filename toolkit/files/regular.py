"""Opening files that others may have put there: a pipe or a device must not be waited for."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def open_regular(path: Path) -> int:
    """A descriptor to read a regular file by; raises OSError, for anything else as well."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    # With O_NONBLOCK (open(2)) nobody waits for the other end of a pipe; it means nothing to files.
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor
