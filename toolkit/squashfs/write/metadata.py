"""Metadata blocks: streams of 8 KiB pieces, each compressed, that inodes and tables live in."""

from __future__ import annotations

import struct

from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.structs import METADATA_SIZE, METADATA_UNCOMPRESSED, MetadataRef


class MetadataStream:
    """Append-only; `output` is final after `finish`."""

    def __init__(self, compressor: Compressor) -> None:
        self.output = bytearray()
        self.starts: list[int] = []
        """Where each block starts in the output."""
        self.size = 0
        """Bytes written so far."""
        self._buffer = bytearray()
        self._compressor = compressor

    @property
    def position(self) -> MetadataRef:
        """Where the next byte goes."""
        return MetadataRef(len(self.output), len(self._buffer))

    def write(self, data: bytes) -> None:
        """Append; a block that is full is compressed at once, so that positions are final."""
        self._buffer += data
        self.size += len(data)
        while len(self._buffer) >= METADATA_SIZE:
            self._close(METADATA_SIZE)

    def finish(self) -> None:
        """Close the last, shorter block."""
        if self._buffer:
            self._close(len(self._buffer))

    def _close(self, size: int) -> None:
        block = bytes(self._buffer[:size])
        del self._buffer[:size]
        compressed = self._compressor.compress(block)
        word = len(compressed)
        if word >= size:
            compressed, word = block, size | METADATA_UNCOMPRESSED
        self.starts.append(len(self.output))
        self.output += struct.pack("<H", word) + compressed


def encode_table(data: bytes, start: int, compressor: Compressor) -> tuple[bytes, int]:
    """A lookup table to be written at `start`: its blocks, then the list of where they are.

    Returns the bytes, and the position of the list, which is what superblocks point at.
    """
    stream = MetadataStream(compressor)
    stream.write(data)
    stream.finish()
    pointers = struct.pack(f"<{len(stream.starts)}Q", *(start + at for at in stream.starts))
    return bytes(stream.output) + pointers, start + len(stream.output)
