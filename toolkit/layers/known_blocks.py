"""Compressed blocks that somebody offers for a layer: each is used only if it is that layer's.

The layer itself is read and cut as ever, so that every name, owner and size comes from it. What is
offered spares compressing: a block is taken if it decompresses to the very bytes of the layer's,
which costs a twentieth of that. Some blocks are compressed all the same, and must give the bytes
that were offered: whoever compressed otherwise (another level, another zstd) is found out.
"""

from __future__ import annotations

import secrets
from array import array
from concurrent.futures import Future
from typing import BinaryIO

from toolkit.errors import DamagedError
from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.structs import DATA_UNCOMPRESSED

_SIZE_MASK = DATA_UNCOMPRESSED - 1
_SAMPLE = 32
"""Of so many blocks, one that is chosen at random is compressed; and the first."""


class ForeignBlocks(DamagedError):
    """Blocks that were offered are not what this layer's compress to."""


class KnownBlocks:
    """In a Compressor's place for one layer. `sizes` are the size words of the blocks in `file`,
    in their order, which is that in which they are asked for.

    A block that is offered and wrong raises ForeignBlocks: none of them is to be used then.
    """

    def __init__(self, file: BinaryIO, sizes: array[int], compressor: Compressor) -> None:
        self.threads = compressor.threads
        self._file = file
        file.seek(0)
        self._words = (word for word in sizes if word)
        self._compressor = compressor
        self._is_first = True

    def submit(self, block: bytes) -> Future[bytes]:
        """The compressed block, from a thread of the compressor's pool."""
        word = next(self._words, 0)
        offered = self._file.read(word & _SIZE_MASK)
        if not offered or word & DATA_UNCOMPRESSED:
            # What does not compress can be told only by trying.
            return self._compressor.submit(block)
        is_sample = self._is_first or not secrets.randbelow(_SAMPLE)
        future = self._compressor.run(lambda: self._checked(block, offered, is_sample))
        if self._is_first:
            self._is_first = False
            future.result()  # before anything else is done with such a pack
        return future

    def _checked(self, block: bytes, offered: bytes, is_sample: bool) -> bytes:
        if is_sample:
            if self._compressor.compress(block) != offered:
                raise ForeignBlocks("its blocks are not compressed as they are here")
        elif not _is_frame_of(offered, block):
            raise ForeignBlocks("its blocks are not those of the layer")
        return offered


def _is_frame_of(data: bytes, block: bytes) -> bool:
    """Whether this is one zstd frame, such as Compressor makes, of these bytes.

    Other frames of the same bytes, which not every decompressor may take alike (a dictionary, a
    larger window, several frames), are refused.
    """
    import zstandard

    try:
        frame = zstandard.get_frame_parameters(data)
        if (frame.content_size, frame.dict_id, frame.has_checksum) != (len(block), 0, False):
            return False
        if frame.window_size > len(block):
            return False
        plain = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError:
        return False
    return plain == block
