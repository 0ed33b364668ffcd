"""The files of a profile, so that a start decodes what it reads and little else, and fast.

Small files get fragments of their own; blocks of large ones are compressed for speed. They are
taken out of the packs, which stay as they are in the cache.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import BinaryIO

from toolkit.files.copy import copy_range
from toolkit.layers.content import decoded
from toolkit.layers.pack import Pack
from toolkit.squashfs.compress import BlockWriter, Compressor
from toolkit.squashfs.structs import DATA_UNCOMPRESSED
from toolkit.squashfs.tree import Content, Inode, walk

_FAST_LEVEL = -1
"""Of zstd: half of the time that level 10 takes to decode, for a third more bytes."""
_GROWTH = 0.012
"""By which part the image may grow for that."""
_SIZE_MASK = DATA_UNCOMPRESSED - 1
_FRAGMENTS_KEPT = 32
"""Decoded, as the files of a start come from many by turns."""


def pack_hot_files(
    hot: Mapping[Inode, Iterable[int]],
    tree: Inode,
    packs: list[Pack],
    file: BinaryIO,
    compressor: Compressor,
    block_size: int,
) -> tuple[Pack, list[Content]]:
    """A pack of files among the hot ones, and the contents of all in their order.

    `hot` has the blocks of each that are read. The pack is one more of the image, behind `packs`.
    What is moved out of a fragment stays there, too, as bytes of no use, so files stay where at
    least half of a fragment is hot.
    """
    blocks = BlockWriter(file, compressor)
    source = _Blocks(packs)
    contents = _faster(hot, packs, source, blocks, file)
    stay = _mostly_hot(hot, tree)
    order: dict[tuple[int, bytes], Content] = {}
    fragment: list[bytes] = []
    used = 0
    for inode in hot:
        content = inode.content
        if not content.size or (content.size, content.digest) in order:
            continue
        if content.fragment < 0 or content.blocks or (content.pack, content.fragment) in stay:
            order[content.size, content.digest] = contents.get(content, content)
            continue
        # As the packer has it for code: a reader of one file decodes what is before it.
        if fragment and used + content.size > block_size // 2:
            blocks.add(b"".join(fragment))
            fragment.clear()
            used = 0
        order[content.size, content.digest] = replace(
            content, pack=len(packs), fragment=len(blocks.sizes), fragment_offset=used
        )
        fragment.append(source.fragment(content))
        used += content.size
    if fragment:
        blocks.add(b"".join(fragment))
    blocks.flush()
    return Pack(file, block_size, sizes=blocks.sizes), list(order.values())


def _faster(
    hot: Mapping[Inode, Iterable[int]],
    packs: list[Pack],
    source: _Blocks,
    blocks: BlockWriter,
    file: BinaryIO,
) -> dict[Content, Content]:
    """The large files with hot blocks compressed for speed, as far as the image may grow.

    Their other blocks are copied as they are. `blocks` and `file` are the new pack's.
    """
    import zstandard

    fast = zstandard.ZstdCompressor(level=_FAST_LEVEL)
    left = int(_GROWTH * sum(word & _SIZE_MASK for pack in packs for word in pack.sizes))
    contents: dict[Content, Content] = {}
    for inode, numbers in hot.items():
        content = inode.content
        if not content.blocks or content in contents or left <= 0:
            continue
        pack = packs[content.pack]
        new: dict[int, bytes] = {}
        for number in numbers:
            word = pack.sizes[content.first_block + number]
            if not word or word & DATA_UNCOMPRESSED:
                continue
            data = fast.compress(source.block(content.pack, content.first_block + number))
            if len(data) - word <= left and len(data) < pack.block_size:
                new[number] = data
                left -= len(data) - word
        if not new:
            continue
        first = len(blocks.sizes)
        for number in range(content.blocks):
            at = content.first_block + number
            word = pack.sizes[at]
            if number in new:
                word = len(new[number])
                file.write(new[number])
            else:
                copy_range(pack.file, pack.offsets[at], file, word & _SIZE_MASK)
            blocks.sizes.append(word)
        contents[content] = replace(content, pack=len(packs), first_block=first)
    return contents


def _mostly_hot(hot: Iterable[Inode], tree: Inode) -> set[tuple[int, int]]:
    """Fragments of which at least half is in the profile, by pack and block."""
    wanted: Counter[tuple[int, int]] = Counter()
    for content in {inode.content for inode in hot}:
        if content.fragment >= 0:
            wanted[content.pack, content.fragment] += content.size
    ends: dict[tuple[int, int], int] = dict.fromkeys(wanted, 0)
    for inode in walk(tree):
        content = inode.content
        key = content.pack, content.fragment
        if key in ends:
            ends[key] = max(ends[key], content.fragment_offset + content.size)
    return {key for key, size in wanted.items() if 2 * size >= ends[key]}


class _Blocks:
    """Decoded blocks of packs."""

    def __init__(self, packs: list[Pack]) -> None:
        self._packs = packs
        self._decoded: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def fragment(self, content: Content) -> bytes:
        """A small file's bytes."""
        key = content.pack, content.fragment
        data = self._decoded.pop(key, None)
        if data is None:
            data = self.block(*key)
            if len(self._decoded) == _FRAGMENTS_KEPT:
                self._decoded.popitem(last=False)
        self._decoded[key] = data
        return data[content.fragment_offset : content.fragment_offset + content.size]

    def block(self, number: int, block: int) -> bytes:
        """A block of a pack."""
        pack = self._packs[number]
        pack.file.flush()
        pack.file.seek(pack.offsets[block])
        return decoded(pack, pack.sizes[block])
