"""RPM's own database format: Packages.db, which SUSE uses (RPM's lib/backend/ndb/rpmpkg.c)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from toolkit.errors import DamagedError
from toolkit.packages.source import LARGEST_PIECE, SourceFile

MAGIC = b"RpmP"
_HEADER = struct.Struct("<4sIIII")
_SLOT = struct.Struct("<4sIII")
_BLOB = struct.Struct("<4sIII")
_PAGE, _BLOCK = 4096, 16
_MAX_PAGES = 2048


def headers(file: SourceFile) -> Iterator[bytes]:
    """Every package's header; raises DockercError when it is damaged."""
    start = file.read(0, _HEADER.size)
    if len(start) < _HEADER.size:
        raise DamagedError("it is cut short")
    magic, version, _, pages, _ = _HEADER.unpack(start)
    if magic != MAGIC or version != 0 or pages > _MAX_PAGES:
        raise DamagedError("it is no database of RPM's, or of an unknown version")
    slots = file.read(0, pages * _PAGE)
    # The header takes the place of two slots.
    for at in range(2 * _SLOT.size, len(slots) - _SLOT.size + 1, _SLOT.size):
        magic, package, block, count = _SLOT.unpack_from(slots, at)
        if magic != b"Slot":
            raise DamagedError("a slot in it is damaged")
        if package:
            yield _blob(file, package, block * _BLOCK, count * _BLOCK)


def _blob(file: SourceFile, package: int, at: int, size: int) -> bytes:
    head = file.read(at, _BLOB.size)
    if len(head) < _BLOB.size:
        raise DamagedError("a slot in it points past its end")
    magic, number, _, length = _BLOB.unpack(head)
    if magic != b"BlbS" or number != package or length + _BLOB.size > min(size, LARGEST_PIECE):
        raise DamagedError("a package in it is damaged")
    return file.read(at + _BLOB.size, length)
