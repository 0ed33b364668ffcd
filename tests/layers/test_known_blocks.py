"""Blocks that somebody else has compressed: one that is wrong is found, and none is used then."""

from __future__ import annotations

import io
import secrets
from array import array
from collections.abc import Sequence
from typing import Any

import pytest
import zstandard
from layout import noise

from toolkit.layers.known_blocks import ForeignBlocks, KnownBlocks
from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.structs import DATA_UNCOMPRESSED

BLOCK = 4096
BLOCKS = [noise(BLOCK // 2, n).hex().encode() for n in range(8)]


def taken(compressor: Compressor, offered: Sequence[bytes], raw: Sequence[int] = ()) -> list[bytes]:
    """What becomes of BLOCKS; `raw` are the numbers of those that are said to be as they are."""
    words = array("I")
    for number, data in enumerate(offered):
        words.append(len(data) | (DATA_UNCOMPRESSED if number in raw else 0))
    known = KnownBlocks(io.BytesIO(b"".join(offered)), words, compressor)
    return [future.result() for future in [known.submit(block) for block in BLOCKS]]


def made(block: bytes, level: int = 3, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(level=level, **options).compress(block)


WRONG = {
    "other bytes": made(BLOCKS[5][::-1]),
    "fewer bytes": made(BLOCKS[5][:-1]),
    "more bytes": made(BLOCKS[5] + b"x"),
    "no frame": b"no frame",
    "a checksum": made(BLOCKS[5], write_checksum=True),
    "no size": made(BLOCKS[5], write_content_size=False),
    "more behind": made(BLOCKS[5]) + b"x",
    "two frames": made(BLOCKS[5][:100]) + made(BLOCKS[5][100:]),
    "a frame to be skipped": b"\x50\x2a\x4d\x18\1\0\0\0x" + made(BLOCKS[5]),
    "an older format": b"\x27\xb5\x2f\xfd" + made(BLOCKS[5])[4:],
    "a bomb": made(bytes(1 << 28)),
}


@pytest.fixture
def no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first block is compressed."""
    monkeypatch.setattr(secrets, "randbelow", lambda _: 1)


@pytest.mark.usefixtures("no_samples")
@pytest.mark.parametrize("wrong", WRONG)
def test_one_wrong_block_is_found(wrong: str) -> None:
    with Compressor(3, BLOCK) as compressor:
        right = [compressor.compress(block) for block in BLOCKS]
        assert taken(compressor, right) == right
        with pytest.raises(ForeignBlocks):
            taken(compressor, [*right[:5], WRONG[wrong], *right[6:]])


@pytest.mark.usefixtures("no_samples")
def test_a_larger_window_is_found() -> None:
    """As a stream of unknown size has it, made to tell the size nevertheless."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=20)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=BLOCK)
    data = bytearray(stream.compress(BLOCKS[5]) + stream.flush())
    frame = zstandard.get_frame_parameters(bytes(data))
    if frame.window_size <= BLOCK:  # a single segment, whose window is its size: put one in
        assert data[4] == 0x60
        data[4:7] = bytes([0x40, 10 << 3]) + data[5:7]
    assert zstandard.get_frame_parameters(bytes(data)).window_size == 1 << 20
    assert zstandard.ZstdDecompressor().decompress(bytes(data)) == BLOCKS[5]
    with Compressor(3, BLOCK) as compressor:
        right = [compressor.compress(block) for block in BLOCKS]
        with pytest.raises(ForeignBlocks):
            taken(compressor, [*right[:5], bytes(data), *right[6:]])


def test_blocks_that_are_compressed_otherwise_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first always; others if they are in the sample."""
    with Compressor(3, BLOCK) as compressor:
        right, other = ([compressor.compress(b) for b in BLOCKS], [made(b, 19) for b in BLOCKS])
        assert other[0] != right[0] and other[5] != right[5]
        for sampled in (0, 1):
            monkeypatch.setattr(secrets, "randbelow", lambda _, sampled=sampled: sampled)
            with pytest.raises(ForeignBlocks):
                taken(compressor, [other[0], *right[1:]])
        monkeypatch.setattr(secrets, "randbelow", lambda _: 0)
        with pytest.raises(ForeignBlocks):
            taken(compressor, [*right[:5], other[5], *right[6:]])


def test_what_is_said_not_to_compress_is_compressed() -> None:
    with Compressor(3, BLOCK) as compressor:
        right = [compressor.compress(block) for block in BLOCKS]
        raw = [*right[:5], BLOCKS[5], *right[6:]]
        assert taken(compressor, raw, raw=[5]) == right
        assert taken(compressor, right[:3]) == right
        assert taken(compressor, []) == right
