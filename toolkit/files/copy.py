"""Copying bytes from file to file, in the kernel where it can."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

_CHUNK = 1 << 20
_MAX_CALL = 1 << 30
_WORTH_RESERVING = 64 << 20
"""Bytes; for less, what is gained is lost again by asking."""


def copy_range(source: BinaryIO, offset: int, target: BinaryIO, size: int) -> None:
    """Append `size` bytes of `source` from `offset` to `target`; both are real files.

    copy_file_range shares extents on filesystems that can, and copies without us on others; where
    it is refused (another filesystem, another system) the bytes go through memory. Holes stay
    holes. Raises OSError.
    """
    if not size:
        return
    target.flush()
    position = target.tell()
    for start, length in _data(source.fileno(), offset, size):
        at = position + start - offset
        done = _in_kernel(source.fileno(), start, target.fileno(), at, length)
        target.seek(at + done)
        stream_range(source, start + done, target, length - done)
    target.flush()
    end = position + size
    if os.fstat(target.fileno()).st_size < end:  # in a hole
        os.ftruncate(target.fileno(), end)
    target.seek(end)


def stream_range(source: BinaryIO, offset: int, target: BinaryIO, size: int) -> None:
    """The same to a target that may be a pipe, through memory. Raises OSError."""
    for piece in pieces(source, offset, size):
        target.write(piece)


def pieces(file: BinaryIO, offset: int, size: int) -> Iterator[bytes]:
    """These bytes of a file, a mebibyte at a time. Raises OSError when they are not all there."""
    file.seek(offset)
    while size:
        piece = file.read(min(_CHUNK, size))
        if not piece:
            raise OSError("the file became shorter while it was read")
        yield piece
        size -= len(piece)


def _data(source: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
    """The pieces of a range that are not holes: where each starts, and its bytes."""
    if (
        sys.platform == "win32"
        or not hasattr(os, "SEEK_DATA")
        or os.fstat(source).st_size < offset + size
    ):
        yield offset, size
        return
    # The reader above this descriptor knows where it has left it.
    before = os.lseek(source, 0, os.SEEK_CUR)
    start, end = offset, offset + size
    while start < end:
        try:
            start = os.lseek(source, start, os.SEEK_DATA)
            hole = os.lseek(source, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the file's end
                start = end
            hole = end  # or a filesystem that does not tell
        os.lseek(source, before, os.SEEK_SET)
        if start < end:
            yield start, min(hole, end) - start
        start = hole


def _in_kernel(source: int, offset: int, target: int, position: int, size: int) -> int:
    done = 0
    if size >= _WORTH_RESERVING:
        _reserve(target, position, size)
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


def _reserve(target: int, position: int, size: int) -> None:
    """Have the filesystem find the blocks at once: ext4 then takes a third less time to fill them.

    fallocate(2) itself, since posix_fallocate(3), which Python has, writes zeros where it is not
    there.
    """
    if sys.platform != "linux" or sys.maxsize <= 1 << 32:
        return
    import ctypes

    try:
        fallocate = ctypes.CDLL(None).fallocate
    except (OSError, AttributeError):  # another C library
        return
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    fallocate(target, 0, position, size)  # what it cannot do, the copy will tell
