"""Blocks of somebody else's squashfs: read within its bounds, decompressed to their limit.

Nothing that the image says is believed: a block lies inside `bytes_used`, gives at most what a
block may hold, and costs no more memory than that.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from typing import BinaryIO

from toolkit.errors import DamagedError, DockercError, RefusedError, UnsupportedError
from toolkit.squashfs.structs import (
    COMPRESSION_NAMES,
    DATA_UNCOMPRESSED,
    FRAGMENT_ENTRY,
    METADATA_SIZE,
    METADATA_UNCOMPRESSED,
    NO_TABLE,
    SUPERBLOCK_SIZE,
    MetadataRef,
    Superblock,
)

_XZ_MEMORY = 64 << 20
_KEPT_METADATA = 512
_KEPT_DATA = 24
_POINTER = 8

Decompress = Callable[[bytes, int], bytes]
"""Compressed bytes and a limit to at most so many bytes."""


class Blocks:
    """The blocks of the squashfs that starts at `offset` of `file`; positions count from there."""

    def __init__(self, file: BinaryIO, offset: int, superblock: Superblock) -> None:
        self.superblock = superblock
        self._file, self._offset = file, offset
        self._decompress = _decompressor(superblock.compression)
        self._metadata: dict[int, tuple[bytes, int]] = {}
        self._data: dict[tuple[int, int], bytes] = {}

    def raw(self, start: int, size: int) -> bytes:
        """Bytes as they are stored; raises DockercError when they are not all there."""
        if not 0 <= start <= self.superblock.bytes_used - size:
            raise DamagedError(f"its squashfs points past its own end: {size} bytes at {start}")
        self._file.seek(self._offset + start)
        data = self._file.read(size)
        if len(data) != size:
            raise DamagedError("the file became shorter while it was read")
        return data

    def metadata(self, start: int) -> tuple[bytes, int]:
        """A metadata block's content, 1 to 8192 bytes, and where the next block starts."""
        if known := self._metadata.get(start):
            return known
        if len(self._metadata) >= _KEPT_METADATA:
            self._metadata.clear()
        content, end = self._metadata_at(self.raw(start, 2), start, self.raw)
        self._metadata[start] = content, end
        return content, end

    def read(self, table: int, at: MetadataRef, size: int) -> tuple[bytes, MetadataRef]:
        """`size` bytes of the metadata table that starts at `table`, and the place after them."""
        content, after = self.metadata(table + at.block)
        end = at.offset + size
        if end <= len(content):
            return content[at.offset : end], MetadataRef(at.block, end)
        if at.offset > len(content):
            raise DamagedError("its squashfs points past the end of a metadata block")
        pieces = [content[at.offset :]]
        size -= len(pieces[0])
        while True:
            block = after
            content, after = self.metadata(block)
            pieces.append(content[:size])
            size -= len(pieces[-1])
            if not size:
                return b"".join(pieces), MetadataRef(block - table, len(pieces[-1]))

    def metadata_table(self, start: int, end: int, limit: int) -> tuple[bytearray, dict[int, int]]:
        """All the blocks of a table: their contents joined, and where each block's content is.

        The keys of the second are the blocks' positions relative to `start`. Raises DockercError
        when there are more than `limit` bytes of them.
        """
        if end < start:
            raise DamagedError("the tables of its squashfs are out of order")
        stored = self.raw(start, end - start)
        content, places = bytearray(), {}
        position = 0
        while position < len(stored):
            places[position] = len(content)
            header = stored[position : position + 2]
            block, position = self._metadata_at(
                header, position, lambda at, size: stored[at : at + size]
            )
            content += block
            if len(content) > limit:
                raise RefusedError(f"a table of its squashfs has more than {limit} bytes")
        return content, places

    def _metadata_at(
        self, header: bytes, start: int, read: Callable[[int, int], bytes]
    ) -> tuple[bytes, int]:
        word = int.from_bytes(header, "little")
        size = word & ~METADATA_UNCOMPRESSED
        if not 0 < size <= METADATA_SIZE or len(header) != 2:
            raise DamagedError(f"a metadata block of its squashfs claims {size} bytes")
        content = read(start + 2, size)
        if len(content) != size:
            raise DamagedError("a metadata block of its squashfs runs past its table")
        if not word & METADATA_UNCOMPRESSED:
            content = self._decompress(content, METADATA_SIZE)
        if not content:
            raise DamagedError("a metadata block of its squashfs is empty")
        return content, start + 2 + size

    def data(self, start: int, word: int, limit: int) -> bytes:
        """A data block or fragment by its size word; at most `limit` bytes."""
        if (known := self._data.pop((start, word), None)) is not None:
            self._data[start, word] = known  # the last to be dropped
            return known
        size = stored_size(word)
        if size > self.superblock.block_size:
            raise DamagedError(f"a data block of its squashfs claims {size} bytes")
        if start < SUPERBLOCK_SIZE or start + size > self.superblock.inode_table:
            raise DamagedError(f"a data block of its squashfs lies outside of its data: {start}")
        content = self.raw(start, size)
        if not word & DATA_UNCOMPRESSED:
            content = self._decompress(content, limit)
        if len(self._data) >= _KEPT_DATA:
            del self._data[next(iter(self._data))]
        self._data[start, word] = content
        return content

    def lookup_table(self, list_at: int, size: int) -> bytes:
        """A table of `size` bytes whose list of metadata blocks stands at `list_at`."""
        return b"".join(self._pointed(list_at, size))

    def _pointed(self, list_at: int, size: int) -> list[bytes]:
        count = -(-size // METADATA_SIZE)
        pieces = []
        for start in self.pointers(list_at, count):
            piece, _ = self.metadata(start)
            wanted = min(METADATA_SIZE, size)
            if len(piece) < wanted:
                raise DamagedError("a table of its squashfs is shorter than it claims")
            pieces.append(piece[:wanted])
            size -= wanted
        return pieces

    def fragment(self, number: int) -> tuple[int, int]:
        """A fragment's start and size word, looked up by itself."""
        if number >= self.superblock.fragments:
            raise DamagedError(f"its squashfs has no fragment {number}")
        block, entry = divmod(number, METADATA_SIZE // FRAGMENT_ENTRY.size)
        (start,) = self.pointers(self.superblock.fragment_table + block * _POINTER, 1)
        at = MetadataRef(start, entry * FRAGMENT_ENTRY.size)
        start, word, _ = FRAGMENT_ENTRY.unpack(self.read(0, at, FRAGMENT_ENTRY.size)[0])
        return start, word

    def pointers(self, list_at: int, count: int) -> array[int]:
        """`count` positions as lists of blocks hold them."""
        return little_endian("Q", self.raw(list_at, count * _POINTER))

    def directory_end(self) -> int:
        """Where the directory table ends, which no field says: at the first table behind it.

        The tables after it begin with blocks that their lists point at.
        """
        superblock = self.superblock
        ends = [superblock.bytes_used]
        lists = [
            (superblock.fragment_table, superblock.fragments),
            (superblock.export_table, superblock.inodes),
            (superblock.id_table, superblock.ids),
        ]
        ends += [self.pointers(at, 1)[0] for at, count in lists if count and at != NO_TABLE]
        if superblock.xattr_table != NO_TABLE:
            ends += self.pointers(superblock.xattr_table, 1)
        return min(end for end in ends if end >= superblock.directory_table)


def stored_size(word: int) -> int:
    """The bytes that a block of this size word takes in the file."""
    return word & (DATA_UNCOMPRESSED - 1)


def little_endian(code: str, data: bytes | bytearray) -> array[int]:
    """Numbers as squashfs stores them."""
    numbers: array[int] = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _decompressor(compression: int) -> Decompress:
    name = COMPRESSION_NAMES.get(compression, f"method {compression}")
    if name not in _DECOMPRESSORS:
        raise UnsupportedError(f"its squashfs is compressed by {name}, which is not supported")
    return _DECOMPRESSORS[name]()


def _zstd() -> Decompress:
    import zstandard

    decoder = zstandard.ZstdDecompressor()

    def decompress(data: bytes, limit: int) -> bytes:
        try:
            if zstandard.frame_content_size(data) > limit:
                raise DamagedError("a block of its squashfs is larger than a block can be")
            return decoder.decompress(data, max_output_size=limit)
        except zstandard.ZstdError as error:
            raise _damaged(error) from None

    return decompress


def _gzip() -> Decompress:
    import zlib

    def decompress(data: bytes, limit: int) -> bytes:
        try:
            return zlib.decompressobj().decompress(data, limit)
        except zlib.error as error:
            raise _damaged(error) from None

    return decompress


def _xz() -> Decompress:
    import lzma

    def decompress(data: bytes, limit: int) -> bytes:
        try:
            return lzma.LZMADecompressor(memlimit=_XZ_MEMORY).decompress(data, limit)
        except lzma.LZMAError as error:
            raise _damaged(error) from None

    return decompress


def _damaged(error: Exception) -> DockercError:
    return DamagedError(f"a block of its squashfs is damaged: {error}")


_DECOMPRESSORS: dict[str, Callable[[], Decompress]] = {"zstd": _zstd, "gzip": _gzip, "xz": _xz}
