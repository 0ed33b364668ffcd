"""What a pack knows of one tar entry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.tree import EMPTY, Content


class EntryKind(IntEnum):
    """The inode types, and the three entries that are instructions to the merge."""

    DIRECTORY = InodeType.DIRECTORY
    FILE = InodeType.FILE
    SYMLINK = InodeType.SYMLINK
    BLOCK_DEVICE = InodeType.BLOCK_DEVICE
    CHAR_DEVICE = InodeType.CHAR_DEVICE
    FIFO = InodeType.FIFO
    HARD_LINK = 16
    WHITEOUT = 17
    OPAQUE = 18


@dataclass(slots=True)
class Entry:
    """One entry of a layer, its path clean: no leading slash, no `.`, no `..`; b"" is the root."""

    path: bytes
    kind: EntryKind
    mode: int
    uid: int
    gid: int
    mtime: int
    target: bytes = b""
    """A symlink's text; a hard link's path, clean like `path`."""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    content: Content = EMPTY
