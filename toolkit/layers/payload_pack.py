"""A payload that is there already as a pack: its blocks, to be written in another order."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from typing import BinaryIO

from toolkit.layers.pack import Pack
from toolkit.squashfs.read.blocks import stored_size
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.structs import FRAGMENT_ENTRY, NO_FRAGMENT
from toolkit.squashfs.tree import EMPTY, Content, Inode
from toolkit.squashfs.write.rewrite import tree_of


def pack_of(filesystem: Filesystem, file: BinaryIO, offset: int) -> tuple[Pack, Inode]:
    """The pack, as number 0, and the tree; raises DockercError on damage."""
    pack = Pack(file, filesystem.superblock.block_size, starts=array("Q"))
    contents = _Contents(filesystem, pack, offset)
    return pack, tree_of(filesystem, contents.of)


class _Contents:
    """Adds blocks to the pack, those of files that share them once."""

    def __init__(self, filesystem: Filesystem, pack: Pack, offset: int) -> None:
        self._filesystem, self._pack, self._offset = filesystem, pack, offset
        self._known: dict[bytes, Content] = {}
        for start, word, _ in FRAGMENT_ENTRY.iter_unpack(filesystem.fragment_table):
            self._add(start, (word,))

    def of(self, node: Node) -> Content:
        """What a file holds."""
        if not node.size:
            return EMPTY
        words = tuple(self._filesystem.words(node))
        fragment = -1
        if node.fragment != NO_FRAGMENT:
            fragment = node.fragment
            self._filesystem.fragment(fragment)  # raises where there is none of that number
        place = (node.size, node.start if words else 0, words, fragment, node.fragment_offset)
        digest = hashlib.blake2b(repr(place).encode(), digest_size=16).digest()
        content = self._known.get(digest)
        if content is None:
            first = self._add(node.start, words)
            content = self._known[digest] = Content(
                node.size, digest, 0, first, len(words), fragment, node.fragment_offset
            )
        return content

    def _add(self, start: int, words: Iterable[int]) -> int:
        """Blocks that follow one another; returns the number of the first."""
        assert self._pack.starts is not None
        first = len(self._pack.sizes)
        at = self._offset + start
        for word in words:
            self._pack.sizes.append(word)
            self._pack.starts.append(at)
            at += stored_size(word)
        return first
