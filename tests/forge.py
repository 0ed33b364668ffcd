"""Squashfs images written by hand, so that each of their fields can lie, and only that one.

Inodes are stored uncompressed, and so their places are known beforehand; directories are
compressed, and so is what may follow the last inode: megabytes of its blocks in a few bytes.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from toolkit.executable.footer import Footer
from toolkit.squashfs.structs import (
    DIRECTORY_ENTRY,
    DIRECTORY_HEADER,
    EXTENDED_DIRECTORY_INODE,
    EXTENDED_FILE_INODE,
    INODE_HEADER,
    METADATA_SIZE,
    METADATA_UNCOMPRESSED,
    NO_FRAGMENT,
    NO_TABLE,
    NO_XATTR,
    SUPERBLOCK_SIZE,
    SYMLINK_INODE,
    Superblock,
)

STUB = bytes(4096)
CONFIG = {"process": {"args": ["/x"], "env": [], "cwd": "/", "user": {"uid": 0, "gid": 0}}}
_COMPRESSOR = zstandard.ZstdCompressor(level=3)
_UNCOMPRESSED = 1 << 24


@dataclass(eq=False)
class Forged:
    """An inode; None stands for what is right."""

    kind: int
    body: bytes = b""
    mode: int = 0o755
    owner: int = 0
    number: int | None = None
    children: list[tuple[bytes, Forged]] | None = None
    nlink: int = 2
    entry_kind: int | None = None
    """What directories call it."""
    listing_size: int | None = None
    listing: Forged | None = None
    """The directory whose listing it has instead of its own."""
    offset: int = 0
    at: tuple[int, int, int] = (0, 0, 0)
    """A directory's listing: block, offset, bytes."""

    @property
    def block(self) -> int:
        return self.offset // METADATA_SIZE * (METADATA_SIZE + 2)


def forged_file(
    size: int = 0, start: int = 0, words: bytes = b"", nlink: int = 1, **fields: Any
) -> Forged:
    """Its last blocks may be among the image's `tail`."""
    body = EXTENDED_FILE_INODE.pack(start, size, 0, nlink, NO_FRAGMENT, 0, NO_XATTR)
    return Forged(9, body + words, **fields)


def forged_symlink(target: bytes, size: int | None = None, **fields: Any) -> Forged:
    return Forged(
        3, SYMLINK_INODE.pack(1, len(target) if size is None else size) + target, **fields
    )


def forged_directory(*children: tuple[bytes, Forged], **fields: Any) -> Forged:
    return Forged(8, children=list(children), **fields)


@dataclass
class Forge:
    """An image of the payload's root; `ids` are the owners, `changes` are to the superblock."""

    rootfs: Forged
    tail: int = 0
    """Bytes of zeros after the last inode, which is a file's."""
    listings: int = 0
    """The same after the last directory."""
    ids: tuple[int, ...] = (0,)
    block_size: int = 4096
    config: bytes = json.dumps(CONFIG).encode()
    changes: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """An executable with it."""
        image = self.image()
        path.write_bytes(STUB + image + Footer(len(STUB)).encode())
        return path

    def image(self) -> bytes:
        """The squashfs."""
        # The data is config.json's alone, and what a file says is not there is not there.
        words, pieces = b"", []
        for at in range(0, len(self.config), self.block_size):
            pieces.append(self.config[at : at + self.block_size])
            words += struct.pack("<I", len(pieces[-1]) | _UNCOMPRESSED)
        config = forged_file(len(self.config), SUPERBLOCK_SIZE, words, mode=0o644)
        root = forged_directory((b"config.json", config), (b"rootfs", self.rootfs))
        order = self._order(root)
        directories = self._directories(order)
        inodes = b"".join(self._encoded(inode) for inode in order)
        table = self._with_tail(inodes) if self.tail else _blocks(inodes, compressed=False)
        ids = _blocks(struct.pack(f"<{len(self.ids)}I", *self.ids))
        at = SUPERBLOCK_SIZE + len(self.config)
        directory_table = at + len(table)
        id_block = directory_table + len(directories)
        id_table = id_block + len(ids)
        end = id_table + 8
        fields: dict[str, Any] = {
            "inodes": max(inode.number or 0 for inode in order), "mkfs_time": 0,
            "block_size": self.block_size, "fragments": 0, "compression": 6, "flags": 0x210,
            "ids": len(self.ids), "root_inode": root.block << 16 | root.offset % METADATA_SIZE,
            "bytes_used": end, "id_table": id_table, "xattr_table": NO_TABLE, "inode_table": at,
            "directory_table": directory_table, "fragment_table": NO_TABLE,
            "export_table": NO_TABLE,
        }  # fmt: skip
        superblock = Superblock(**(fields | self.changes)).encode()
        parts = [superblock, b"".join(pieces), table, directories, ids, struct.pack("<Q", id_block)]
        return b"".join(parts)

    def _order(self, root: Forged) -> list[Forged]:
        """All inodes, each once, with their places; files with a tail come last."""
        order, waiting, seen = [], [root], {id(root)}
        while waiting:
            inode = waiting.pop()
            order.append(inode)
            for _, child in inode.children or ():
                if id(child) not in seen:
                    seen.add(id(child))
                    waiting.append(child)
        order.sort(key=lambda inode: inode.body.endswith(b"tail"))
        position = 0
        for number, inode in enumerate(order, 1):
            inode.number = inode.number or number
            inode.offset = position
            inode.body = inode.body.removesuffix(b"tail")
            size = EXTENDED_DIRECTORY_INODE.size if inode.children is not None else len(inode.body)
            position += INODE_HEADER.size + size
        return order

    def _directories(self, order: list[Forged]) -> bytes:
        """The table, compressed, since places in it are asked for afterwards only."""
        content, starts = bytearray(), []
        for inode in order:
            if inode.children is None:
                continue
            begin = len(content)
            for name, child in sorted(inode.children, key=lambda pair: pair[0]):
                # A run of its own for each, which is allowed, if wasteful.
                content += DIRECTORY_HEADER.pack(0, child.block, child.number)
                kind = child.entry_kind or (child.kind - 1) % 7 + 1
                offset = child.offset % METADATA_SIZE
                content += DIRECTORY_ENTRY.pack(offset, 0, kind, len(name) - 1) + name
            starts.append((inode, begin, len(content) - begin))
        table, places = bytearray(), []
        for at in range(0, len(content), METADATA_SIZE):
            places.append(len(table))
            table += _blocks(bytes(content[at : at + METADATA_SIZE]))
        places.append(len(table))
        for inode, begin, size in starts:
            inode.at = places[begin // METADATA_SIZE], begin % METADATA_SIZE, size
        return bytes(table) + _blocks(bytes(METADATA_SIZE)) * (self.listings // METADATA_SIZE)

    def _encoded(self, inode: Forged) -> bytes:
        assert inode.number is not None
        header = INODE_HEADER.pack(inode.kind, inode.mode, inode.owner, 0, 0, inode.number)
        if inode.children is None:
            return header + inode.body
        block, offset, size = (inode.listing or inode).at
        size = size + 3 if inode.listing_size is None else inode.listing_size
        fields = (inode.nlink, size, block, 1, 0, offset, NO_XATTR)
        return header + EXTENDED_DIRECTORY_INODE.pack(*fields)

    def _with_tail(self, inodes: bytes) -> bytes:
        """Whole blocks uncompressed, the last one and what follows it compressed."""
        whole = len(inodes) // METADATA_SIZE * METADATA_SIZE
        rest = inodes[whole:] + bytes(METADATA_SIZE - len(inodes) % METADATA_SIZE)
        zeros = _blocks(bytes(METADATA_SIZE)) * (self.tail // METADATA_SIZE + 1)
        return _blocks(inodes[:whole], compressed=False) + _blocks(rest) + zeros


def _blocks(data: bytes, *, compressed: bool = True) -> bytes:
    """Metadata blocks of this content."""
    table = b""
    for at in range(0, len(data), METADATA_SIZE):
        block = data[at : at + METADATA_SIZE]
        packed = _COMPRESSOR.compress(block) if compressed else block
        if len(packed) < len(block):
            table += struct.pack("<H", len(packed)) + packed
        else:
            table += struct.pack("<H", len(block) | METADATA_UNCOMPRESSED) + block
    return table
