"""An executable cut into chunks that its next version has, too, where it is the same.

Layers become runs of compressed blocks that are copied from build to build, so that the cuts are
between blocks (docs/travel.md). Whether one is before a block depends on the block alone: what was
put in or left out elsewhere moves no other cut.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from toolkit.errors import RefusedError
from toolkit.executable.executable import Executable
from toolkit.executable.hash_tree import BLOCK as TREE_BLOCK
from toolkit.executable.integrity import tree_offset
from toolkit.executable.payload import filesystem_of
from toolkit.files.copy import pieces
from toolkit.limits import MAX_CHUNK, MAX_CHUNKS
from toolkit.squashfs.read.data_blocks import block_starts

MEANS = tuple(64 << 10 << power for power in range(7))
"""Bytes of a chunk in the mean: 64 KiB to 4 MiB. The first cuts at most blocks of 512 KiB, which
have 50 to 250 KiB when compressed: a changed one is then all that is new."""
_WANTED = 4096
"""Chunks that a file should not have more of, by its size: each is a request."""
_LOOKED_AT = 64
"""Bytes of a block that decide whether a chunk begins with it."""
_HASHES = 1 << 64
_MAX_TREE = 1 << 20
"""Blocks after the payload that are looked at; what follows them is cut by its size."""


@dataclass(frozen=True)
class Chunk:
    """A range of the file."""

    offset: int
    size: int


def cut(executable: Executable) -> tuple[int, list[Chunk]]:
    """The mean that is right for the file, and its chunks.

    Raises DockercError on a damaged payload, and on a file that has too many of them.
    """
    at_least = executable.size // _WANTED
    blocks = _blocks(executable)
    for mean in MEANS:
        if mean >= at_least or mean == MEANS[-1]:
            chunks = _cut(executable, blocks, mean)
            if len(chunks) <= MAX_CHUNKS:
                return mean, chunks
    raise RefusedError(
        f"{executable.path}: {executable.size} bytes are more than {MAX_CHUNKS} chunks hold"
    )


def cut_alike(executable: Executable, mean: int) -> list[Chunk]:
    """The chunks of a file that is to be compared with one cut by this mean."""
    return _cut(executable, _blocks(executable), mean)


def hashed(
    executable: Executable, chunks: list[Chunk], sizes: Collection[int] | None = None
) -> Iterator[tuple[Chunk, str]]:
    """Each chunk with its digest, or those of these sizes only. Raises OSError."""
    for chunk in chunks:
        if sizes is None or chunk.size in sizes:
            data = read_chunk(executable, chunk)
            yield chunk, f"sha256:{hashlib.sha256(data).hexdigest()}"


def read_chunk(executable: Executable, chunk: Chunk) -> bytes:
    """Its bytes; raises OSError when they are not all there."""
    return b"".join(pieces(executable.file, chunk.offset, chunk.size))


@dataclass(frozen=True)
class _Blocks:
    """Where blocks begin in the file, and those of them that differ in each version: the first of
    config.json, small as it is."""

    starts: list[int]
    own: set[int]


def _blocks(executable: Executable) -> _Blocks:
    base, filesystem = executable.footer.offset, filesystem_of(executable)
    starts = [base + start for start in block_starts(filesystem)]
    config = filesystem.find(b"config.json", follow=False)
    own = {base + config.start} if config is not None and config.blocks else set()
    return _Blocks(starts, own.intersection(starts))


def _cut(executable: Executable, blocks: _Blocks, mean: int) -> list[Chunk]:
    base, starts = executable.footer.offset, blocks.starts
    tables = base + executable.superblock.inode_table
    end, size = executable.payload_end, executable.size
    # A version has most of the hash tree in common with the next one.
    tree = list(range(tree_offset(end, base), size, TREE_BLOCK)[:_MAX_TREE])
    # Stub, superblock, data, and tables change by themselves.
    forced = {0, base, tables, end, size, *starts[:1], *blocks.own}
    chosen = _chosen(executable, starts, tables, mean) | _chosen(executable, tree, size, mean)
    return list(_chunks(sorted(forced | chosen), [*starts, *tree]))


def _chosen(executable: Executable, starts: list[int], end: int, mean: int) -> set[int]:
    """Those of the blocks that a chunk begins with: of `mean` bytes of blocks one, by chance,
    which the block's own bytes are."""
    chosen = set()
    for start, following in zip(starts, [*starts[1:], end], strict=False):
        size = following - start
        executable.file.seek(start)
        data = executable.file.read(min(size, _LOOKED_AT))
        value = hashlib.blake2b(data, digest_size=8, key=size.to_bytes(8, "little")).digest()
        if int.from_bytes(value, "little") * mean < size * _HASHES:
            chosen.add(start)
    return chosen


def _chunks(cuts: list[int], starts: list[int]) -> Iterator[Chunk]:
    """The ranges between the cuts, those that are too large cut once more: where a block begins,
    if one does."""
    for start, end in itertools.pairwise(cuts):
        while end - start > MAX_CHUNK:
            last = starts[bisect.bisect_right(starts, start + MAX_CHUNK) - 1] if starts else 0
            middle = last if last > start else start + MAX_CHUNK
            yield Chunk(start, middle - start)
            start = middle
        yield Chunk(start, end - start)
