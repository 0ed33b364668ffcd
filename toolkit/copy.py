"""Copying bytes from file to file, in the kernel where it can."""

from __future__ import annotations

import errno
import os
from typing import BinaryIO

_CHUNK = 1 << 20
_MAX_CALL = 1 << 30


def copy_range(source: BinaryIO, offset: int, target: BinaryIO, size: int) -> None:
    """Append `size` bytes of `source` from `offset` to `target`; both are real files.

    copy_file_range shares extents on filesystems that can, and copies without us on others; where
    it is refused (another filesystem, another system) the bytes go through memory. Raises OSError.
    """
    if not size:
        return
    target.flush()
    position = target.tell()
    done = _in_kernel(source.fileno(), offset, target.fileno(), position, size)
    target.seek(position + done)
    stream_range(source, offset + done, target, size - done)


def stream_range(source: BinaryIO, offset: int, target: BinaryIO, size: int) -> None:
    """The same to a target that may be a pipe, through memory. Raises OSError."""
    source.seek(offset)
    while size:
        chunk = source.read(min(_CHUNK, size))
        if not chunk:
            raise OSError("the file became shorter while it was read")
        target.write(chunk)
        size -= len(chunk)


def _in_kernel(source: int, offset: int, target: int, position: int, size: int) -> int:
    done = 0
    if hasattr(os, "copy_file_range"):
        try:
            while done < size:
                copied = os.copy_file_range(
                    source, target, min(_MAX_CALL, size - done), offset + done, position + done
                )
                if not copied:
                    break
                done += copied
        except OSError as error:
            if error.errno == errno.ENOSPC:  # the user's to hear at once
                raise
    return done
