"""Copying bytes from file to file, in the kernel where it can."""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Iterator
from typing import BinaryIO

_CHUNK = 1 << 20
_MAX_CALL = 1 << 30
_BLOCK = 4096
"""What filesystems that share extents want offsets to be multiples of."""
_CLONE_RANGE = 0x4020940D
"""FICLONERANGE of ioctl_ficlonerange(2)."""
_CLONE = struct.Struct("=qQQQ")
"""source's descriptor, offset, length, target's offset."""
_WORTH_RESERVING = 64 << 20
"""Bytes; for less, what is gained is lost again by asking."""


def copy_range(source: BinaryIO, offset: int, target: BinaryIO, size: int) -> None:
    """Append `size` bytes of `source` from `offset` to `target`; both are real files.

    Extents are shared on filesystems that can, holes stay holes, and the rest is copied without
    us by copy_file_range(2); where that is refused (another filesystem, another system) the bytes
    go through memory. Raises OSError.
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
    source.seek(offset)
    while size:
        chunk = source.read(min(_CHUNK, size))
        if not chunk:
            raise OSError("the file became shorter while it was read")
        target.write(chunk)
        size -= len(chunk)


def _data(source: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
    """The pieces of a range that are not holes: where each starts, and its bytes."""
    if not hasattr(os, "SEEK_DATA") or os.fstat(source).st_size < offset + size:
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
    done = _cloned(source, offset, target, position, size)
    if size - done >= _WORTH_RESERVING:
        _reserve(target, position + done, size - done)
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


def _cloned(source: int, offset: int, target: int, position: int, size: int) -> int:
    """Share the extents of the whole blocks at the start; returns their bytes."""
    whole = size // _BLOCK * _BLOCK
    if sys.platform != "linux" or not whole or offset % _BLOCK or position % _BLOCK:
        return 0
    import fcntl

    try:
        fcntl.ioctl(target, _CLONE_RANGE, _CLONE.pack(source, offset, whole, position))
    except OSError:  # most filesystems cannot
        return 0
    return whole


def _reserve(target: int, position: int, size: int) -> None:
    """Have the filesystem find the blocks at once: ext4 then takes a third less time to fill them.

    fallocate(2) itself, since posix_fallocate(3), which Python has, writes zeros where it is not
    there. Raises OSError when the disk is too full.
    """
    if sys.platform != "linux" or sys.maxsize <= 1 << 32:
        return
    import ctypes

    try:
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    except (OSError, AttributeError):  # another C library
        return
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if fallocate(target, 0, position, size) and ctypes.get_errno() == errno.ENOSPC:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
