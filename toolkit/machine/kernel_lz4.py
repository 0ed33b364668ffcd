"""LZ4's legacy frames, in which many kernels are compressed (lz4(1); lz4_Frame_format.md and
lz4_Block_format.md of its sources). Python has no decompressor for it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from toolkit.errors import DamagedError

MAGIC = b"\x02\x21\x4c\x18"
MAX_BLOCK = 8 << 20
"""Bytes of a block, decompressed; each stands for itself."""
_TOO_LARGE = f"a block of lz4 that is larger than {MAX_BLOCK >> 20} MiB"
_SHORTEST_MATCH = 4
_LENGTH = struct.Struct("<I")


def unpack_frames(data: bytes) -> Iterator[bytes]:
    """The blocks of a frame, decompressed; raises DamagedError."""
    position = len(MAGIC)
    while position < len(data):
        (size,) = _LENGTH.unpack_from(data.ljust(position + _LENGTH.size, b"\0"), position)
        position += _LENGTH.size
        if not 0 < size <= len(data) - position:
            raise DamagedError("a frame of lz4 that is cut short")
        yield _unpack_block(data[position : position + size])
        position += size


def _unpack_block(data: bytes) -> bytes:
    """Sequences of literal bytes and of a match: an earlier part of the block once more."""
    found = bytearray()
    position, end = 0, len(data)
    data += bytes(4)  # lengths and distances that are cut short are seen to be, below
    while position < end:
        token = data[position]
        position += 1
        literals = token >> 4
        if literals == 15:
            position, literals = _longer(data, position, literals)
        if len(found) + literals > MAX_BLOCK:
            raise DamagedError(_TOO_LARGE)
        found += data[position : position + literals]
        position += literals
        if position == end:
            return bytes(found)
        if position > end:
            break
        distance = data[position] | data[position + 1] << 8
        position += 2
        length = token & 15
        if length == 15:
            position, length = _longer(data, position, length)
        length += _SHORTEST_MATCH
        start = len(found) - distance
        if start < 0 or not distance:
            raise DamagedError("a block of lz4 that refers to what is before it")
        if len(found) + length > MAX_BLOCK:
            raise DamagedError(_TOO_LARGE)
        if distance >= length:
            found += found[start : start + length]
        else:
            found += (found[start:] * (length // distance + 1))[:length]
    raise DamagedError("a block of lz4 that is cut short")


def _longer(data: bytes, position: int, length: int) -> tuple[int, int]:
    """A length whose further bytes begin at `position`: up to one that is not 255."""
    more = 255
    while more == 255:
        more = data[position]
        position += 1
        length += more
    return position, length
