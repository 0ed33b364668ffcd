"""File data: what the tree still uses of the packs, copied compressed, and where it went."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from toolkit.files.copy import copy_range
from toolkit.layers.pack import Pack
from toolkit.squashfs.structs import DATA_UNCOMPRESSED, FRAGMENT_ENTRY, NO_FRAGMENT, InodeType
from toolkit.squashfs.tree import Content, Inode
from toolkit.squashfs.write.placement import Placement

_SIZE_MASK = DATA_UNCOMPRESSED - 1


@dataclass(slots=True)
class _Moved:
    """One pack's blocks: which are wanted, and where each starts in the output."""

    wanted: bytearray
    starts: array[int]
    sizes: array[int]


class DataMap:
    """Chooses the blocks, copies them, and answers where a content is in the filesystem.

    Files of equal content, within a layer and across layers, share the first one's blocks; `hot`
    contents are the first of theirs, and are copied in front of all, in their order.
    """

    def __init__(self, packs: list[Pack], block_size: int, hot: Sequence[Content] = ()) -> None:
        self._packs = packs
        self._block_size = block_size
        self._moved = [
            _Moved(bytearray(len(p.sizes)), array("Q", bytes(8 * len(p.sizes))), p.sizes)
            for p in packs
        ]
        self._hot = hot
        self._first = {(content.size, content.digest): content for content in hot}
        self._fragments: dict[tuple[int, int], int] = {}
        self._fragment_entries = bytearray()

    def want(self, inodes: Iterable[Inode]) -> None:
        """Mark what these files need."""
        for inode in inodes:
            if inode.kind is not InodeType.FILE or not inode.content.size:
                continue
            content = self._one(inode.content)
            wanted = self._moved[content.pack].wanted
            if content.blocks and wanted[content.first_block]:
                continue  # as of a file's other names
            wanted[content.first_block : content.first_block + content.blocks] = (
                b"\1" * content.blocks
            )
            if content.fragment >= 0:
                wanted[content.fragment] = 1
                self._fragments.setdefault((content.pack, content.fragment), -1)

    def wanted_sizes(self) -> list[int]:
        """Of each pack, the bytes that `copy` will copy."""
        return [
            sum(word & _SIZE_MASK for word, wanted in zip(moved.sizes, moved.wanted, strict=True)
                if wanted)
            for moved in self._moved
        ]  # fmt: skip

    def copy(self, output: BinaryIO, position: int) -> int:
        """Copy the wanted blocks to the output, where `position` is; returns the new position.

        Positions count from the start of the squashfs; blocks keep their packs' order.
        """
        for content in self._hot:
            if content.fragment >= 0:
                position = self._copy(content.pack, content.fragment, 1, output, position)
            if content.blocks:
                first, count = content.first_block, content.blocks
                position = self._copy(content.pack, first, count, output, position)
        for number, moved in enumerate(self._moved):
            position = self._copy(number, 0, len(moved.sizes), output, position)
        return position

    def _copy(self, number: int, first: int, count: int, output: BinaryIO, position: int) -> int:
        """Copy those of a pack's blocks that are wanted and not there yet."""
        pack, moved = self._packs[number], self._moved[number]
        pack.file.flush()
        run = run_size = 0
        for block in range(first, first + count):
            if not moved.wanted[block]:
                continue
            moved.wanted[block] = 0
            word, source = moved.sizes[block], pack.offsets[block]
            if run + run_size != source:
                copy_range(pack.file, run, output, run_size)
                run, run_size = source, 0
            moved.starts[block] = position
            run_size += word & _SIZE_MASK
            position += word & _SIZE_MASK
            if (number, block) in self._fragments:
                self._fragments[number, block] = self.fragment_count
                self._fragment_entries += FRAGMENT_ENTRY.pack(moved.starts[block], word, 0)
        copy_range(pack.file, run, output, run_size)
        return position

    @property
    def fragment_count(self) -> int:
        """Fragments copied so far."""
        return len(self._fragment_entries) // FRAGMENT_ENTRY.size

    @property
    def fragment_table(self) -> bytes:
        """The fragment table, uncompressed."""
        return bytes(self._fragment_entries)

    def place(self, content: Content) -> Placement:
        """Where this content is, after `copy`."""
        content = self._one(content)
        fragment = NO_FRAGMENT
        if content.fragment >= 0:
            fragment = self._fragments[content.pack, content.fragment]
        if not content.blocks:
            return Placement(0, b"", 0, fragment, content.fragment_offset)
        moved = self._moved[content.pack]
        words = moved.sizes[content.first_block : content.first_block + content.blocks]
        holes = words.count(0) * self._block_size
        if holes and words[-1] == 0:
            holes -= -content.size % self._block_size  # the last block may be shorter
        start = moved.starts[content.first_block]
        return Placement(start, _little_endian(words), holes, fragment, content.fragment_offset)

    def _one(self, content: Content) -> Content:
        return self._first.setdefault((content.size, content.digest), content)


def _little_endian(words: array[int]) -> bytes:
    if sys.byteorder == "big":
        words = words[:]
        words.byteswap()
    return words.tobytes()
