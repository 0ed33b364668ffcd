"""A squashfs's extended attributes, as they are read; `xattrs.py` writes them."""

from __future__ import annotations

from toolkit.errors import DamagedError, RefusedError
from toolkit.limits import MAX_NAME, MAX_XATTRS
from toolkit.squashfs.read.blocks import Blocks
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.structs import (
    METADATA_SIZE,
    NO_TABLE,
    NO_XATTR,
    U32,
    XATTR_ID,
    XATTR_KEY,
    XATTR_PREFIXES,
    XATTR_TABLE,
    MetadataRef,
)

_MAX_VALUE = 64 << 10
"""XATTR_SIZE_MAX of linux/limits.h."""
_KEPT = 16
"""Sets that are remembered, since many files have the same one."""
_XATTR_OUT_OF_LINE = 0x100
_XATTR_PREFIXES = {number: prefix for prefix, number in XATTR_PREFIXES.items()}


class Attributes:
    """The attributes of the squashfs that has these blocks."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._known: dict[int, tuple[tuple[bytes, bytes], ...]] = {}

    def of(self, node: Node) -> tuple[tuple[bytes, bytes], ...]:
        """A node's extended attributes, names with their namespaces."""
        if node.xattr == NO_XATTR:
            return ()
        if node.xattr not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[node.xattr] = self._read(node)
        return self._known[node.xattr]

    def _read(self, node: Node) -> tuple[tuple[bytes, bytes], ...]:
        if self._blocks.superblock.xattr_table == NO_TABLE:
            raise DamagedError("an inode of its squashfs has attributes, of which there are none")
        header = self._blocks.raw(self._blocks.superblock.xattr_table, XATTR_TABLE.size)
        start, count, _ = XATTR_TABLE.unpack(header)
        if node.xattr >= count:
            raise DamagedError(f"its squashfs has no set of attributes {node.xattr}")
        per_block = METADATA_SIZE // XATTR_ID.size
        list_at = self._blocks.superblock.xattr_table + XATTR_TABLE.size
        (block,) = self._blocks.pointers(list_at + 8 * (node.xattr // per_block), 1)
        at = MetadataRef(block, node.xattr % per_block * XATTR_ID.size)
        ids, _ = self._blocks.read(0, at, XATTR_ID.size)
        reference, pairs, _ = XATTR_ID.unpack(ids)
        found, at = [], MetadataRef.of(reference)
        size = 0
        for _ in range(pairs):
            (name, value), at = self._xattr(start, at)
            size += len(name) + len(value)
            if size > MAX_XATTRS:
                raise RefusedError("an inode of its squashfs claims too many attributes")
            found.append((name, value))
        return tuple(found)

    def _xattr(self, start: int, at: MetadataRef) -> tuple[tuple[bytes, bytes], MetadataRef]:
        data, at = self._blocks.read(start, at, XATTR_KEY.size)
        kind, length = XATTR_KEY.unpack(data)
        prefix = _XATTR_PREFIXES.get(kind & ~_XATTR_OUT_OF_LINE)
        if prefix is None or not 0 < length <= MAX_NAME:
            raise DamagedError("an extended attribute of its squashfs has no name")
        name, at = self._blocks.read(start, at, length)
        if b"\0" in name:
            raise DamagedError("an extended attribute of its squashfs has a zero in its name")
        value, after = self._xattr_value(start, at)
        if kind & _XATTR_OUT_OF_LINE:
            if len(value) != 8:
                raise DamagedError("an extended attribute of its squashfs points nowhere")
            place = MetadataRef.of(int.from_bytes(value, "little"))
            value, _ = self._xattr_value(start, place)
        return (prefix + name, value), after

    def _xattr_value(self, start: int, at: MetadataRef) -> tuple[bytes, MetadataRef]:
        data, at = self._blocks.read(start, at, U32.size)
        (length,) = U32.unpack(data)
        if length > _MAX_VALUE:
            raise DamagedError(f"an extended attribute of its squashfs claims {length} bytes")
        return self._blocks.read(start, at, length)
