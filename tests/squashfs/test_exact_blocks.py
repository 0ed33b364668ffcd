"""Superblocks and blocks of a squashfs as they are read, at each bound and one beyond."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest

from toolkit.errors import DamagedError, RefusedError, UnsupportedError
from toolkit.squashfs.read import inodes
from toolkit.squashfs.read.blocks import Blocks, stored_size
from toolkit.squashfs.structs import (
    DATA_UNCOMPRESSED,
    METADATA_UNCOMPRESSED,
    NO_TABLE,
    SUPERBLOCK_SIZE,
    MetadataRef,
    Superblock,
)

FIELDS: dict[str, Any] = {
    "inodes": 9, "mkfs_time": 1, "block_size": 4096, "fragments": 9, "compression": 6, "flags": 0,
    "ids": 1, "root_inode": 0, "bytes_used": 1000, "id_table": 500, "xattr_table": 500,
    "inode_table": 500, "directory_table": 500, "fragment_table": 500, "export_table": 500,
}  # fmt: skip


def decoded(**changes: int) -> Superblock:
    return Superblock.decode(Superblock(**(FIELDS | changes)).encode() + b"more")


@pytest.mark.parametrize(
    "changes",
    [{"block_size": 4096}, {"block_size": 1 << 20}, {"fragments": 0, "fragment_table": 7},
     {"bytes_used": 500}, {"xattr_table": NO_TABLE}, {"export_table": NO_TABLE},
     *({name: at} for name in FIELDS if name.endswith("_table") for at in (96, 1000))],
)  # fmt: skip
def test_superblocks_that_can_be(changes: dict[str, int]) -> None:
    assert decoded(**changes) == Superblock(**(FIELDS | changes))


@pytest.mark.parametrize(
    "changes",
    [{"block_size": 2048}, {"block_size": 1 << 21}, {"fragments": 10}, {"bytes_used": 499},
     {"fragment_table": NO_TABLE}, {"inode_table": NO_TABLE}, {"id_table": NO_TABLE},
     {"directory_table": NO_TABLE},
     *({name: at} for name in FIELDS if name.endswith("_table") for at in (95, 1001))],
)  # fmt: skip
def test_superblocks_that_cannot(changes: dict[str, int]) -> None:
    with pytest.raises(DamagedError):
        decoded(**changes)


def test_what_is_no_superblock() -> None:
    good = Superblock(**FIELDS).encode()
    assert len(good) == SUPERBLOCK_SIZE == 96 and Superblock.decode(good)
    tiny = FIELDS | {name: 96 for name in FIELDS if name.endswith("_table")} | {"bytes_used": 96}
    assert Superblock.decode(Superblock(**tiny).encode())
    for wrong in (good[:95], b"x" + good[1:], good[:22] + b"\x0d" + good[23:]):
        with pytest.raises(DamagedError):
            Superblock.decode(wrong)
    with pytest.raises(DamagedError, match="95 bytes long"):
        Superblock.decode(Superblock(**(tiny | {"bytes_used": 95})).encode())
    for version in ((4, 1), (3, 0), (5, 0)):
        with pytest.raises(UnsupportedError, match=f"version {version[0]}.{version[1]}"):
            Superblock.decode(good[:28] + struct.pack("<HH", *version) + good[32:])


# Blocks


def blocks_of(data: bytes, **changes: int) -> Blocks:
    fields = {"bytes_used": 96 + len(data), "inode_table": 96 + len(data), "fragments": 0}
    return Blocks(
        io.BytesIO(b"before" + bytes(96) + data), 6, Superblock(**(FIELDS | fields | changes))
    )


def metadata(content: bytes) -> bytes:
    return struct.pack("<H", len(content) | METADATA_UNCOMPRESSED) + content


def test_bytes_as_they_are_stored() -> None:
    blocks = blocks_of(b"abc")
    assert (blocks.raw(96, 3), blocks.raw(98, 1), blocks.raw(99, 0)) == (b"abc", b"c", b"")
    for start, size in ((97, 3), (-1, 1), (100, 0)):
        with pytest.raises(DamagedError, match="past its own end"):
            blocks.raw(start, size)
    with pytest.raises(DamagedError, match="became shorter"):
        blocks_of(b"abc", bytes_used=200).raw(96, 4)


def test_metadata_blocks() -> None:
    full, last = bytes(range(256)) * 32, b"last"
    data = metadata(full) + metadata(full) + metadata(last)
    blocks = blocks_of(data)
    assert blocks.metadata(96) == (full, 96 + 8194)
    for at, size, expected, after in (
        (MetadataRef(0, 0), 8192, full, MetadataRef(0, 8192)),
        (MetadataRef(0, 8192), 1, full[:1], MetadataRef(8194, 1)),
        (MetadataRef(0, 8191), 2, full[-1:] + full[:1], MetadataRef(8194, 1)),
        (MetadataRef(0, 1), 8192 * 2 + 2, full[1:] + full + b"las", MetadataRef(2 * 8194, 3)),
        (MetadataRef(2 * 8194, 4), 0, b"", MetadataRef(2 * 8194, 4)),
    ):
        assert blocks.read(96, at, size) == (expected, after)
    with pytest.raises(DamagedError, match="past the end of a metadata block"):
        blocks.read(96, MetadataRef(0, 8193), 1)
    with pytest.raises(DamagedError):
        blocks.read(96, MetadataRef(2 * 8194, 4), 1)
    table, places = blocks.metadata_table(96, 96 + len(data), 2 * 8192 + 4)
    assert table == full + full + last and places == {0: 0, 8194: 8192, 2 * 8194: 2 * 8192}
    assert blocks.metadata_table(96, 96, 0) == (b"", {})
    with pytest.raises(RefusedError, match="more than 16387 bytes"):
        blocks.metadata_table(96, 96 + len(data), 2 * 8192 + 3)
    with pytest.raises(DamagedError, match="out of order"):
        blocks.metadata_table(97, 96, 9)
    for cut in (1, 2, 4):
        with pytest.raises(DamagedError):
            blocks.metadata_table(96, 96 + len(data) - cut, 1 << 20)


@pytest.mark.parametrize("word", [0, METADATA_UNCOMPRESSED, 8193, 8193 | METADATA_UNCOMPRESSED])
def test_metadata_blocks_that_cannot_be(word: int) -> None:
    with pytest.raises(DamagedError, match="metadata block of its squashfs claims"):
        blocks_of(struct.pack("<H", word) + bytes(9000)).metadata(96)


def test_data_blocks() -> None:
    data = b"x" * 4096 + b"y" * 4097
    blocks = blocks_of(data)
    stored = DATA_UNCOMPRESSED
    assert blocks.data(96, stored | 4096, 4096) == b"x" * 4096
    assert blocks.data(96, stored | 4096, 4096) == b"x" * 4096, "known by now"
    assert blocks.data(96 + 4096 + 1, stored | 4096, 4096) == b"y" * 4096, "up to the end of data"
    for start, size, told in (
        (96, 4097, "claims 4097"),
        (95, 1, "outside"),
        (96 + 4098, 4096, "outside"),
    ):
        with pytest.raises(DamagedError, match=told):
            blocks.data(start, stored | size, 4096)
    assert [stored_size(word) for word in (stored | 5, 5, stored, 0)] == [5, 5, 0, 0]


def test_lookup_tables() -> None:
    first, second = bytes(range(256)) * 32, b"second"
    data = metadata(first) + metadata(second)
    pointers = struct.pack("<QQ", 96, 96 + 8194)
    blocks = blocks_of(data + pointers)
    at = 96 + len(data)
    assert blocks.lookup_table(at, 8192) == first
    assert blocks.lookup_table(at, 8193) == first + b"s"
    assert blocks.lookup_table(at, 8198) == first + second
    assert blocks.lookup_table(at, 0) == b""
    with pytest.raises(DamagedError, match="shorter than it claims"):
        blocks.lookup_table(at, 8199)


def test_fragments() -> None:
    entries = b"".join(struct.pack("<QII", number, number + 1, 0) for number in range(513))
    data = metadata(entries[:8192]) + metadata(entries[8192:])
    pointers = struct.pack("<QQ", 96, 96 + 8194)
    blocks = blocks_of(data + pointers, fragments=513, fragment_table=96 + len(data))
    assert [blocks.fragment(number) for number in (0, 511, 512)] == [(0, 1), (511, 512), (512, 513)]
    with pytest.raises(DamagedError, match="no fragment 513"):
        blocks.fragment(513)


def test_where_directories_end() -> None:
    """At the first thing behind them: a list's first block, the attributes', or the end."""
    pointers = struct.pack("<QQQQ", 300, 310, 320, 330)
    tables = {"fragment_table": 96, "export_table": 104, "id_table": 112, "xattr_table": 120}
    counts = {"fragments": 1, "inodes": 1, "ids": 1, "directory_table": 200, "bytes_used": 1000}
    for changes, expected in (
        ({}, 300), ({"fragments": 0}, 310), ({"fragment_table": NO_TABLE}, 310),
        ({"fragments": 0, "export_table": NO_TABLE}, 320), ({"directory_table": 300}, 300),
        ({"directory_table": 301}, 310),
        ({"fragments": 0, "export_table": NO_TABLE, "ids": 0}, 330),
        ({"fragments": 0, "export_table": NO_TABLE, "ids": 0, "xattr_table": NO_TABLE}, 1000),
    ):  # fmt: skip
        blocks = blocks_of(pointers, **(tables | counts | changes))
        assert blocks.directory_end() == expected, changes
    assert MetadataRef(0, 0) == inodes._NOWHERE
