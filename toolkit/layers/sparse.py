"""The four ways in which tar stores a sparse file's map (GNU tar manual, "Sparse Formats")."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from toolkit.errors import DamagedError
from toolkit.layers.byte_stream import ByteStream

_BLOCK = 512
_MAX_SEGMENTS = 1 << 18
_MAX_DIGITS = 19


class Segment(NamedTuple):
    """A run of data in a sparse file, in bytes."""

    offset: int
    size: int


def old_gnu_map(header: bytes, stream: ByteStream, number: Callable[[bytes], int]) -> list[Segment]:
    """Type `S`: four segments in the header, then blocks of 21 while a flag says so."""
    segments = _pairs_in_block(header[386:482], number)
    more = header[482]
    while more and len(segments) <= _MAX_SEGMENTS:
        block = stream.read(_BLOCK)
        segments += _pairs_in_block(block[:504], number)
        more = block[504]
    return segments


def pax_map(value: bytes) -> list[Segment]:
    """Versions 0.0 and 0.1: `offset,size,offset,size…` in a PAX record."""
    return _from_numbers(value.split(b",", 2 * _MAX_SEGMENTS + 1))


def pax_map_in_data(stream: ByteStream, stored: int) -> tuple[list[Segment], int]:
    """Version 1.0: decimal lines in the content's first blocks; also the bytes they took."""
    lines: list[bytes] = []
    rest, used, wanted = b"", 0, 1
    while len(lines) < wanted:
        if used + _BLOCK > stored:
            raise DamagedError("a sparse file's map in its tar is cut short")
        *whole, rest = (rest + stream.read(_BLOCK)).split(b"\n")
        used += _BLOCK
        lines += whole
        if lines and wanted == 1:
            wanted = 1 + 2 * _count(lines[0])
        # A line has few digits, and what compresses well can have any number of lines.
        too_long = len(lines) < wanted and len(rest) > _MAX_DIGITS  # else zeros that pad the block
        if too_long or wanted > 1 + 2 * _MAX_SEGMENTS:
            raise DamagedError("a sparse file's map in its tar is malformed, or has too many parts")
    return _from_numbers(lines[1:wanted]), used


def check_sparse_map(segments: list[Segment], size: int, stored: int, name: str) -> None:
    """Segments ascend, do not overlap, end within the file, and are all in the stream."""
    end = 0
    for offset, length in segments:
        if offset < end or length < 0 or offset + length > size:
            raise DamagedError(f"{name}: a sparse file's map in its tar is out of order or bounds")
        end = offset + length
    if sum(segment.size for segment in segments) != stored:
        raise DamagedError(f"{name}: a sparse file's map in its tar does not fit its content")


def _pairs_in_block(data: bytes, number: Callable[[bytes], int]) -> list[Segment]:
    pairs = (data[i : i + 24] for i in range(0, len(data), 24))
    return [Segment(number(pair[:12]), number(pair[12:])) for pair in pairs if pair[0]]


def _from_numbers(numbers: list[bytes]) -> list[Segment]:
    if numbers == [b""]:
        return []
    values = [_count(number) for number in numbers]
    if len(values) % 2 or len(values) > 2 * _MAX_SEGMENTS:
        raise DamagedError("a sparse file's map in its tar is malformed")
    return [Segment(*pair) for pair in zip(values[::2], values[1::2], strict=True)]


def _count(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        raise DamagedError("a sparse file's map in its tar is malformed")
    return int(text)
