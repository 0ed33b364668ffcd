"""A pack: one layer read once, its files already cut into squashfs blocks and compressed.

Packs are the boundary between reading layers and writing the filesystem: merging them is pure
metadata, and the writer copies compressed runs without looking into them.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import BinaryIO

from toolkit.layers.entry import Entry
from toolkit.squashfs.compress import BlockWriter, Compressor
from toolkit.squashfs.structs import DATA_UNCOMPRESSED
from toolkit.squashfs.tree import Content

_SIZE_MASK = DATA_UNCOMPRESSED - 1


@dataclass
class Pack:
    """A layer's entries in their order, and its blocks: `sizes[i]` is block i's size word."""

    file: BinaryIO
    block_size: int
    entries: list[Entry] = field(default_factory=list)
    sizes: array[int] = field(default_factory=lambda: array("I"))
    left_out: Counter[str] = field(default_factory=Counter)
    """What squashfs or we cannot store, by kind, so that the user can be told."""
    starts: array[int] | None = None
    """Where each block is in the file, if they do not follow one another from its start on."""

    @cached_property
    def offsets(self) -> Sequence[int]:
        """Where each block is in the file."""
        if self.starts is not None:
            return self.starts
        return list(accumulate((word & _SIZE_MASK for word in self.sizes), initial=0))


def pack_file(
    data: bytes, number: int, file: BinaryIO, compressor: Compressor, block_size: int
) -> tuple[Pack, Content]:
    """A pack of one file of our own, by itself, so that reading it decodes nothing else."""
    blocks = BlockWriter(file, compressor)
    for start in range(0, len(data), block_size):
        blocks.add(data[start : start + block_size])
    blocks.flush()
    digest = hashlib.blake2b(data, digest_size=16).digest()
    content = Content(len(data), digest, number, 0, len(blocks.sizes), -1, 0)
    return Pack(file, block_size, sizes=blocks.sizes), content
