"""A layer's stream: five compressions, damage, bombs, and a reader that stops early."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import random
import sys
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


@pytest.mark.slow
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


def read_to_the_end(compressed: bytes, data: bytes) -> None:
    with LayerStream(io.BytesIO(compressed), diff_id(data)) as layer:
        layer.skip(len(data))
        layer.finish()


def test_what_a_layer_may_expand_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many bytes in any case, and more if it is stored in so much that the ratio is kept."""
    monkeypatch.setattr(module, "_FREE_SIZE", 10_000)
    monkeypatch.setattr(module, "_MAX_RATIO", 1)
    noise = random.Random(2).randbytes(20_000)
    for data, stored, is_read in (
        (bytes(10_000), gzip.compress(bytes(10_000)), True),
        (bytes(10_001), gzip.compress(bytes(10_001)), False),
        (noise, noise, True),
        (noise + bytes(9000), gzip.compress(noise + bytes(9000)), False),
    ):
        if is_read:
            read_to_the_end(stored, data)
        else:
            with pytest.raises(DockercError, match="taken for an attack"):
                read_to_the_end(stored, data)


@pytest.mark.parametrize(
    ("window", "is_alone"), [((16 << 20) - (2 << 20), False), (16 << 20, False), (18 << 20, True)]
)
def test_which_layers_wait_for_one_another(
    monkeypatch: pytest.MonkeyPatch, window: int, is_alone: bool
) -> None:
    """Those that want a larger window than level 19 does (RFC 8878, 3.1.1.1.2)."""
    taken = []

    class Lock:
        def __enter__(self) -> None:
            taken.append(window)

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(module, "_large_window", Lock())
    exponent = window.bit_length() - 1
    mantissa = (window - (1 << exponent)) >> (exponent - 3)
    descriptor = bytes([0, (exponent - 10) << 3 | mantissa])
    raw_block = (len(DATA[:9]) << 3 | 1).to_bytes(3, "little") + DATA[:9]
    frame = b"\x28\xb5\x2f\xfd" + descriptor + raw_block
    read_to_the_end(frame, DATA[:9])
    assert bool(taken) is is_alone


@pytest.mark.parametrize("first", range(0x4F, 0x61))
def test_frames_that_are_skipped(first: int) -> None:
    """Sixteen magics (RFC 8878, 3.1.2); what begins with others is a tar as it is."""
    start = bytes([first]) + b"\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
    stored = start + zstandard.ZstdCompressor().compress(DATA)
    if 0x50 <= first <= 0x5F:
        read_to_the_end(stored, DATA)
    else:
        read_to_the_end(stored, stored)


def test_gzip_is_read_without_isal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    for name in ("gzip", "gzip of two members", "gzip padded with zeros"):
        assert read_all(COMPRESSIONS[name](DATA), diff_id(DATA)) == DATA


def test_reading_and_passing_by() -> None:
    """`read` and `skip` want all that they ask for, `discard` takes what there is."""
    with LayerStream(io.BytesIO(DATA), diff_id(DATA)) as layer:
        assert layer.read(0) == b"" and layer.read(3) == DATA[:3]
        layer.skip(2_000_000)
        layer.discard(1_000_000)
        assert layer.read(5) == DATA[3_000_003:3_000_008] and not layer.at_end()
        layer.discard(len(DATA))
        assert layer.at_end()
        for more in (lambda: layer.read(1), lambda: layer.skip(1)):
            with pytest.raises(DockercError, match="cut short"):
                more()
        layer.discard(1)
        layer.finish()
        assert layer.stored == len(DATA)
