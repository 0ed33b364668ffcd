"""Makes damaged and hostile executables out of sound ones, the same ones for the same seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

_INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF,
                0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFE, 1 << 32, 1 << 24)  # fmt: skip
_SUPERBLOCK = 96
_TAIL = 64


class Mutator:
    """Mutants of one executable, whose squashfs starts at `offset`."""

    def __init__(self, sound: bytes, offset: int) -> None:
        self.sound, self._offset = sound, offset
        # Tables stand at the end of a squashfs and decide most; data only has to decode.
        self._tables = offset + struct.unpack_from("<Q", sound, offset + 64)[0]

    def mutant(self, seed: int) -> bytes:
        """A few changes, each of a kind and at a place that the seed chooses."""
        choose = random.Random(seed)
        data = bytearray(self.sound)
        for _ in range(choose.choice((1, 1, 1, 2, 3, 8))):
            choose.choice(_CHANGES)(choose, data, self._place(choose, len(data)))
        return bytes(data)

    def _place(self, choose: random.Random, size: int) -> int:
        tables = min(self._tables, size - 1)
        first, last = choose.choice([
            (self._offset, self._offset + _SUPERBLOCK), (tables, size), (tables, size),
            (tables, size), (self._offset, size), (size - _TAIL, size),
        ])  # fmt: skip
        return max(0, min(choose.randrange(first, max(last, first + 1)), size - 1))


def _flip(choose: random.Random, data: bytearray, at: int) -> None:
    if data:
        data[at] ^= 1 << choose.randrange(8)


def _number(choose: random.Random, data: bytearray, at: int) -> None:
    size = choose.choice((1, 2, 4, 8))
    value = choose.choice((*_INTERESTING, len(data), choose.getrandbits(64)))
    new = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    data[at : at + size] = new[: len(data[at : at + size])]


def _nudge(choose: random.Random, data: bytearray, at: int) -> None:
    if data:
        data[at] = (data[at] + choose.choice((-3, -1, 1, 2, 16))) % 256


def _copy(choose: random.Random, data: bytearray, at: int) -> None:
    size, source = choose.randrange(1, 64), choose.randrange(max(1, len(data)))
    piece = data[source : source + size]
    data[at : at + len(piece)] = piece[: len(data) - at]


def _cut(choose: random.Random, data: bytearray, at: int) -> None:
    if choose.random() < 0.2:
        del data[at:]
    else:
        del data[at : at + choose.randrange(1, 16)]


_CHANGES: tuple[Callable[[random.Random, bytearray, int], None], ...] = (
    _flip, _flip, _number, _number, _nudge, _copy, _cut
)  # fmt: skip
