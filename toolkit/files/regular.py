"""Opening files that others may have put there: a pipe or a device must not be waited for."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from toolkit.errors import DockercError, RefusedError
from toolkit.files.flags import BINARY, NO_WAIT


def open_regular(path: Path) -> int:
    """A descriptor to read a regular file by; raises OSError, for anything else as well."""
    descriptor = os.open(path, os.O_RDONLY | BINARY | NO_WAIT)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor


def read_regular(path: Path, most: int, what: str) -> bytes:
    """A whole file; raises DockercError, without its name, also where it has more than `most`
    bytes, which no `what` has."""
    try:
        with open(open_regular(path), "rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise DockercError(f"cannot read it: {error.strerror}") from None
    if len(data) > most:
        size = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} KiB"
        raise RefusedError(f"no {what} has more than {size}")
    return data
