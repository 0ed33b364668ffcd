"""The last bytes of an executable: where its squashfs starts, and what it asks of the runtime.

Two generations exist (docs/format.md). The current one is 16 bytes: `offset`, u64 little-endian;
one byte of flags, of which bit 0 is `require_mapped_uids`; seven bytes of padding. Writers put what
they do not know to zero, and readers must ignore it (the first writer left it undefined). The first
generation is the offset alone, a u64 **big-endian**. Neither has a magic of its own, so a footer is
believed only if a squashfs stands where it points.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from toolkit.errors import DockercError
from toolkit.squashfs.structs import MAGIC, SUPERBLOCK_SIZE, Superblock

_CURRENT = struct.Struct("<QB7x")
_MAPPED_UIDS = 1
"""Bit 0 of the flags; the others are padding that a reader ignores."""
_FIRST = struct.Struct(">Q")


@dataclass(frozen=True)
class Footer:
    """A footer and its size in the file: 16 bytes, or 8 for the first generation."""

    offset: int
    require_mapped_uids: bool = False
    size: int = _CURRENT.size

    @property
    def generation(self) -> int:
        """1 for the big-endian 8 bytes of early 2024, 2 for the 16 bytes that we write."""
        return 1 if self.size == _FIRST.size else 2

    @property
    def flags(self) -> int:
        """The byte of flags, those that are known."""
        return _MAPPED_UIDS if self.require_mapped_uids else 0

    def encode(self) -> bytes:
        """The 16 bytes of the current generation, whichever this footer was read from."""
        return _CURRENT.pack(self.offset, self.flags)


def read_footer(file: BinaryIO, name: str) -> tuple[Footer, Superblock]:
    """The footer of a seekable file, and the superblock that proves it.

    The current generation is tried first. Raises DockercError, naming the file as `name`, when
    neither generation's offset leads to a squashfs that ends before the footer.
    """
    end = file.seek(0, 2)
    tail = _read_at(file, max(0, end - _CURRENT.size), _CURRENT.size)
    reason = "its last bytes lead to no squashfs"
    for footer in _candidates(tail):
        room = end - footer.size - footer.offset
        if footer.offset == 0 or room < SUPERBLOCK_SIZE:
            continue
        start = _read_at(file, footer.offset, SUPERBLOCK_SIZE)
        if start[: len(MAGIC)] != MAGIC:
            continue
        try:
            superblock = Superblock.decode(start)
        except DockercError as error:
            reason = str(error)
            continue
        if superblock.bytes_used <= room:
            return footer, superblock
        reason = (
            f"its squashfs claims {superblock.bytes_used} bytes where {room} are left: cut short?"
        )
    raise DockercError(
        f"{name}: not a dockerc executable: {reason}; give a file made by `dockerc build`"
    )


def _candidates(tail: bytes) -> list[Footer]:
    footers = []
    if len(tail) == _CURRENT.size:
        offset, flags = _CURRENT.unpack(tail)
        footers.append(Footer(offset, bool(flags & _MAPPED_UIDS)))
    if len(tail) >= _FIRST.size:
        footers.append(Footer(_FIRST.unpack(tail[-_FIRST.size :])[0], size=_FIRST.size))
    return footers


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    try:
        file.seek(offset)
        return file.read(size)
    except (OverflowError, ValueError, OSError):
        # An offset beyond what the host can seek to is as wrong as one beyond the end.
        return b""
