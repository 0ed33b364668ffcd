"""A layer's stream: five compressions, damage, bombs, and a reader that stops early."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import random
import threading
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import DockercError
from toolkit.layers import stream as module
from toolkit.layers.stream import LayerStream

DATA = random.Random(0).randbytes(700_000) + bytes(3_000_000) + b"tail" * 1000


def diff_id(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def zstd_frames(data: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor()
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
    half = len(data) // 2
    return skippable + compressor.compress(data[:half]) + compressor.compress(data[half:])


COMPRESSIONS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip of two members": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
    "gzip padded with zeros": lambda data: gzip.compress(data) + bytes(5000),
    "bzip2": bz2.compress,
    "bzip2 of two streams": lambda data: bz2.compress(data[:1000]) + bz2.compress(data[1000:]),
    "xz": lzma.compress,
    "xz of two streams": lambda data: lzma.compress(data[:9]) + bytes(8) + lzma.compress(data[9:]),
    "zstd": zstandard.ZstdCompressor().compress,
    "zstd of several frames": zstd_frames,
}


def read_all(compressed: bytes, expected: str) -> bytes:
    chance = random.Random(1)
    with LayerStream(io.BytesIO(compressed), expected) as layer:
        pieces, left = [], len(DATA)
        while left:
            size = min(left, chance.choice([1, 512, 100_000, 2_000_000]))
            pieces.append(layer.read(size))
            left -= size
        layer.finish()
    return b"".join(pieces)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_every_compression_is_known_by_its_magic(name: str) -> None:
    assert read_all(COMPRESSIONS[name](DATA), diff_id(DATA)) == DATA


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_another_diff_id_is_refused(name: str) -> None:
    with pytest.raises(DockercError, match="the image's config says"):
        read_all(COMPRESSIONS[name](DATA), diff_id(b"other"))


@pytest.mark.parametrize("name", ["gzip", "zstd", "plain", "bzip2", "xz"])
@pytest.mark.parametrize("keep", [3, 1000, 500_000])
def test_what_is_cut_short_is_refused(name: str, keep: int) -> None:
    with pytest.raises(DockercError):
        read_all(COMPRESSIONS[name](DATA)[:keep], diff_id(DATA))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(COMPRESSIONS)), st.integers(0, 600_000), st.integers(1, 255))
def test_a_flipped_byte_is_never_accepted(name: str, position: int, flip: int) -> None:
    compressed = bytearray(COMPRESSIONS[name](DATA))
    position %= len(compressed)
    compressed[position] ^= flip
    with contextlib.suppress(DockercError):  # a header's time may be anything
        assert read_all(bytes(compressed), diff_id(DATA)) == DATA


def test_a_reader_that_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), LayerStream(io.BytesIO(DATA * 9), "sha256:0") as layer:
        layer.read(10)
        raise ZeroDivisionError
    assert threading.active_count() == before


def test_xz_gets_no_more_memory_than_it_may_have() -> None:
    for size, fits in ((64 << 20, True), (256 << 20, False)):
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": size}]
        compressed = lzma.compress(DATA, filters=filters)
        if fits:
            assert read_all(compressed, diff_id(DATA)) == DATA
        else:
            with pytest.raises(DockercError, match=r"a layer of xz is damaged: .*[Mm]emory"):
                read_all(compressed, diff_id(DATA))


@pytest.mark.parametrize("name", ["gzip", "zstd", "bzip2", "xz"])
def test_a_bomb_is_refused_in_bounded_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FREE_SIZE", 1 << 20)
    monkeypatch.setattr(module, "_MAX_RATIO", 100)
    if name == "gzip":
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    elif name != "zstd":
        bomb = {"bzip2": bz2, "xz": lzma}[name].compress(bytes(64 << 20))
    else:
        bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    with (
        pytest.raises(DockercError, match="taken for an attack"),
        LayerStream(io.BytesIO(bomb), diff_id(b"")) as layer,
    ):
        layer.skip(64 << 20)
