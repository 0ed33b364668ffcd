"""A squashfs with files changed: data blocks stay where they are, the tables are made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import accumulate
from typing import BinaryIO

from toolkit.errors import AbsentError
from toolkit.files.copy import copy_range
from toolkit.squashfs.compress import BlockWriter, Compressor
from toolkit.squashfs.read.blocks import stored_size
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.structs import (
    COMPRESSION_ZSTD,
    FLAG_COMPRESSION_OPTIONS,
    FRAGMENT_ENTRY,
    NO_FRAGMENT,
    SUPERBLOCK_SIZE,
    MetadataRef,
    Superblock,
)
from toolkit.squashfs.tree import Content, Inode
from toolkit.squashfs.write.image import METADATA_LEVEL, encode_tables
from toolkit.squashfs.write.placement import Placement


class _ExistingData:
    """Where the contents of an existing filesystem are: they are not moved."""

    def __init__(self, filesystem: Filesystem) -> None:
        self.fragment_table = filesystem.fragment_table
        self.fragment_count = len(self.fragment_table) // FRAGMENT_ENTRY.size
        self.end = max(
            [SUPERBLOCK_SIZE]
            + [
                start + stored_size(word)
                for start, word, _ in FRAGMENT_ENTRY.iter_unpack(self.fragment_table)
            ]
        )
        """Where the last data block ends."""
        self._filesystem = filesystem
        self._placements: list[Placement] = []

    def keep(self, node: Node) -> Content:
        """A content that stands for the file's blocks."""
        words = list(self._filesystem.words(node))
        if any(words):
            self.end = max(self.end, node.start + sum(map(stored_size, words)))
        return self.add(node.size, node.start, words, node.fragment, node.fragment_offset)

    def add(
        self, size: int, start: int, words: list[int], fragment: int = NO_FRAGMENT, offset: int = 0
    ) -> Content:
        """A content of `size` bytes at a place of the filesystem."""
        block_size = self._filesystem.superblock.block_size
        holes = words.count(0) * block_size
        if words and words[-1] == 0 and fragment == NO_FRAGMENT:
            holes -= -size % block_size  # the last block may be shorter
        sizes = b"".join(word.to_bytes(4, "little") for word in words)
        self._placements.append(Placement(start, sizes, holes, fragment, offset))
        return Content(size, b"", 0, len(self._placements) - 1, len(words), -1, 0)

    def place(self, content: Content) -> Placement:
        """Where a content from `keep` or `add` is."""
        return self._placements[content.first_block]


Write = Callable[[Inode, Iterable[bytes]], None]
"""Gives a file of the tree its content, in pieces of the block size but for the last."""


def rewrite(
    filesystem: Filesystem,
    source: BinaryIO,
    offset: int,
    change: Callable[[Inode, Write], None],
    out: BinaryIO,
    *,
    dropped: bytes = b"",
    level: int = METADATA_LEVEL,
) -> Superblock:
    """Append to `out` the squashfs at `offset` of `source`, its tree changed by `change`.

    The data of files that are replaced stay as unused bytes, but for the file `dropped` if it was
    the last; that one has no content until it is given one. `level` is zstd's, for new data.
    Raises DockercError when the squashfs is damaged.
    """
    old = filesystem.superblock
    kept = _ExistingData(filesystem)
    root = tree_of(filesystem, kept.keep, dropped)
    begin = out.tell()
    copy_range(source, offset, out, kept.end)
    is_zstd = old.compression == COMPRESSION_ZSTD
    # Any reader takes blocks that are stored as they are, whatever the compression.
    with Compressor(level if is_zstd else None) as compressor:
        _write_new(kept, root, change, BlockWriter(out, compressor))
    with Compressor(METADATA_LEVEL if is_zstd else None) as compressor:
        tables, superblock = encode_tables(root, kept, out.tell() - begin, compressor)
    options = FLAG_COMPRESSION_OPTIONS
    superblock = replace(
        superblock,
        block_size=old.block_size,
        mkfs_time=old.mkfs_time,
        compression=old.compression,
        flags=superblock.flags & ~options | old.flags & options,
    )
    out.write(tables)
    out.seek(begin)
    out.write(superblock.encode())
    out.seek(begin + superblock.bytes_used)
    return superblock


def rewrite_file(
    filesystem: Filesystem, source: BinaryIO, offset: int, name: bytes, data: bytes, out: BinaryIO
) -> Superblock:
    """The same, with `data` for the file `name` of the root; DockercError when there is none."""
    size = filesystem.superblock.block_size
    there = filesystem.find(name, follow=False)
    if there is None or not there.is_file:
        raise AbsentError(f"its squashfs has no file {name.decode()}")

    def change(root: Inode, write: Write) -> None:
        assert root.children is not None
        write(
            root.children[name], (data[start : start + size] for start in range(0, len(data), size))
        )

    return rewrite(filesystem, source, offset, change, out, dropped=name)


def _write_new(
    kept: _ExistingData, root: Inode, change: Callable[[Inode, Write], None], blocks: BlockWriter
) -> None:
    """Let the tree be changed, and place what is new of it behind the data that is kept."""
    new: list[tuple[Inode, int, int, int]] = []

    def write(inode: Inode, pieces: Iterable[bytes]) -> None:
        first, size = len(blocks.sizes), 0
        for piece in pieces:
            blocks.add(piece)
            size += len(piece)
        new.append((inode, size, first, len(blocks.sizes) - first))

    change(root, write)
    blocks.flush()
    words = list(blocks.sizes)
    starts = list(accumulate((stored_size(word) for word in words), initial=kept.end))
    for inode, size, first, count in new:
        inode.content = kept.add(size, starts[first], words[first : first + count])


def tree_of(filesystem: Filesystem, keep: Callable[[Node], Content], dropped: bytes = b"") -> Inode:
    """The tree as the writer wants it; the file `dropped` of its root has no content.

    `keep` gives the content of a file.
    """
    inodes: dict[MetadataRef, Inode] = {}
    directories: dict[bytes, dict[bytes, Inode]] = {}
    for path, node in filesystem.walk(filesystem.root):
        inode = inodes.get(node.place)
        if inode is None:
            inode = inodes[node.place] = Inode(
                node.kind, node.mode, node.uid, node.gid, node.mtime, node.target, node.device,
                filesystem.xattrs(node),
            )  # fmt: skip
            if node.is_directory:
                inode.children = directories[path] = {}
            elif node.is_file and path != dropped:
                inode.content = keep(node)
        if path:
            parent, _, last = path.rpartition(b"/")
            directories[parent][last] = inode
    return inodes[filesystem.root.place]
