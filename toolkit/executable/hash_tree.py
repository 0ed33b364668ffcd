"""The hash tree of a payload: that of dm-verity, format 1, without a superblock (docs/format.md).

Each block of 4 KiB has a digest; 128 digests are a block of the tree, which has one itself, up to
the root. Who knows the root can check any block alone, by the few blocks of the tree above it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from toolkit.files.copy import pieces

BLOCK = 4096
SALT_SIZE = 32
_DIGEST = 32
_FAN_OUT = BLOCK // _DIGEST
_BUFFERED = 256
"""Blocks of the tree that are kept before they are written."""


@dataclass(frozen=True)
class Level:
    """One level of a tree: where its blocks stand in it, and how many they are."""

    offset: int
    blocks: int


@dataclass(frozen=True)
class Shape:
    """What follows from the payload's size: blocks of data, and the levels, the lowest first.

    The highest level, which is one block, stands first. One block of data needs no tree: its own
    digest is the root.
    """

    blocks: int
    levels: tuple[Level, ...]

    @property
    def size(self) -> int:
        """Bytes of the tree."""
        return sum(level.blocks for level in self.levels) * BLOCK


def shape_of(bytes_used: int) -> Shape:
    """The shape for a payload of so many bytes, at least one."""
    blocks = -(-bytes_used // BLOCK)
    counts = []
    count = blocks
    while count > 1:
        count = -(-count // _FAN_OUT)
        counts.append(count)
    levels, offset = [], 0
    for count in reversed(counts):
        levels.append(Level(offset, count))
        offset += count * BLOCK
    return Shape(blocks, tuple(reversed(levels)))


@dataclass(frozen=True)
class Hashed:
    """The root of a payload's tree, and the SHA-256 of its bytes."""

    root: bytes
    digest: bytes


def write_hash_tree(file: BinaryIO, offset: int, bytes_used: int, salt: bytes) -> Hashed:
    """Write the tree behind the payload at `offset`, which is read once; padded it must be already.

    The file is left at the tree's end. Raises OSError.
    """
    shape = shape_of(bytes_used)
    start = offset + shape.blocks * BLOCK
    payload = hashlib.sha256()
    leaves = _payload_digests(file, offset, bytes_used, salt, payload)
    if not shape.levels:
        (root,) = leaves
        file.seek(start)
        return Hashed(root, payload.digest())
    _write_level(file, start + shape.levels[0].offset, leaves)
    for below, level in zip(shape.levels, shape.levels[1:], strict=False):
        digests = _digests(file, start + below.offset, below.blocks * BLOCK, salt)
        _write_level(file, start + level.offset, digests)
    (root,) = _digests(file, start, BLOCK, salt)
    file.seek(start + shape.size)
    return Hashed(root, payload.digest())


@dataclass(frozen=True)
class Difference:
    """A block that its digest does not fit: a block of data, or one of the tree."""

    in_tree: bool
    number: int


def check_hash_tree(
    file: BinaryIO, offset: int, bytes_used: int, salt: bytes, root: bytes
) -> Iterator[Difference | bytes]:
    """What does not fit, the tree's blocks first; at last the SHA-256 of the payload's bytes.

    All is read once. Raises OSError where the file ends too early.
    """
    shape = shape_of(bytes_used)
    start = offset + shape.blocks * BLOCK
    expected: Iterator[bytes] = iter([root])
    for level in reversed(shape.levels):
        actual = _digests(file, start + level.offset, level.blocks * BLOCK, salt)
        for number, (digest, right) in enumerate(zip(actual, expected, strict=False)):
            if digest != right:
                yield Difference(True, level.offset // BLOCK + number)
        expected = _stored_digests(file, start + level.offset, level.blocks)
    payload = hashlib.sha256()
    actual = _payload_digests(file, offset, bytes_used, salt, payload)
    for number, (digest, right) in enumerate(zip(actual, expected, strict=False)):
        if digest != right:
            yield Difference(False, number)
    yield payload.digest()


def _digests(file: BinaryIO, offset: int, size: int, salt: bytes) -> Iterator[bytes]:
    """Of each block of a range of whole blocks."""
    for piece in _pieces(file, offset, size):
        yield from _of_blocks(piece, salt)


def _payload_digests(
    file: BinaryIO, offset: int, bytes_used: int, salt: bytes, payload: hashlib._Hash
) -> Iterator[bytes]:
    """Of each block of the payload and the padding of its last; `payload` gets its bytes."""
    left = bytes_used
    for piece in _pieces(file, offset, -(-bytes_used // BLOCK) * BLOCK):
        payload.update(piece[:left])
        left -= len(piece)
        yield from _of_blocks(piece, salt)


def _of_blocks(piece: bytes, salt: bytes) -> list[bytes]:
    sha256 = hashlib.sha256
    return [
        sha256(salt + piece[start : start + BLOCK]).digest()
        for start in range(0, len(piece), BLOCK)
    ]


def _stored_digests(file: BinaryIO, offset: int, blocks: int) -> Iterator[bytes]:
    for piece in _pieces(file, offset, blocks * BLOCK):
        for start in range(0, len(piece), _DIGEST):
            yield piece[start : start + _DIGEST]


def _pieces(file: BinaryIO, offset: int, size: int) -> Iterator[bytes]:
    """A mebibyte at a time, wherever others leave the file between two of them."""
    step = 1 << 20
    for start in range(0, size, step):
        yield b"".join(pieces(file, offset + start, min(step, size - start)))


def _write_level(file: BinaryIO, offset: int, digests: Iterator[bytes]) -> None:
    buffer = bytearray()

    def flush() -> None:
        nonlocal offset
        file.seek(offset)
        file.write(buffer)
        offset += len(buffer)
        buffer.clear()

    for digest in digests:
        buffer += digest
        if len(buffer) == _BUFFERED * BLOCK:
            flush()
    buffer += bytes(-len(buffer) % BLOCK)
    flush()
