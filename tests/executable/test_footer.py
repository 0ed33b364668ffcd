"""The footer codec: what it writes it reads, and it believes nothing without evidence."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import DockercError
from toolkit.executable.footer import Footer, read_footer
from toolkit.squashfs.structs import COMPRESSION_ZSTD, NO_TABLE, SUPERBLOCK_SIZE, Superblock


def squashfs(bytes_used: int = 4096) -> bytes:
    superblock = Superblock(
        inodes=1, mkfs_time=0, block_size=1 << 17, fragments=0, compression=COMPRESSION_ZSTD,
        flags=0, ids=1, root_inode=0, bytes_used=bytes_used, id_table=96, xattr_table=NO_TABLE,
        inode_table=96, directory_table=96, fragment_table=NO_TABLE, export_table=NO_TABLE,
    )  # fmt: skip
    return superblock.encode().ljust(bytes_used, b"\0")


@given(st.integers(1, 1 << 16), st.booleans(), st.binary(max_size=40))
def test_current_footer_is_read_back(offset: int, mapped: bool, padding: bytes) -> None:
    data = bytes(offset) + squashfs() + padding + Footer(offset, mapped).encode()
    footer, superblock = read_footer(io.BytesIO(data), "app")
    assert (footer.offset, footer.require_mapped_uids, footer.generation) == (offset, mapped, 2)
    assert superblock.bytes_used == 4096


@given(st.integers(1, 1 << 16), st.binary(max_size=40))
def test_first_generation_is_read(offset: int, padding: bytes) -> None:
    data = bytes(offset) + squashfs() + padding + struct.pack(">Q", offset)
    footer, _ = read_footer(io.BytesIO(data), "app")
    assert (footer.offset, footer.require_mapped_uids, footer.generation) == (offset, False, 1)


def test_padding_byte_of_the_old_writer_is_ignored() -> None:
    data = bytes(100) + squashfs() + struct.pack("<Q?", 100, True) + b"\xaa" * 7
    footer, _ = read_footer(io.BytesIO(data), "app")
    assert footer == Footer(100, True)


@given(st.integers(0, (1 << 64) - 1))
def test_an_offset_without_a_squashfs_is_refused(offset: int) -> None:
    data = bytes(64) + b"hsqs" + bytes(200) + struct.pack("<Q?7x", offset, False)
    with pytest.raises(DockercError, match="not a dockerc executable"):
        read_footer(io.BytesIO(data), "app")


@pytest.mark.parametrize("room", [SUPERBLOCK_SIZE - 1, SUPERBLOCK_SIZE, 4095])
def test_a_squashfs_that_ends_after_the_footer_is_refused(room: int) -> None:
    data = bytes(100) + squashfs()[:room] + Footer(100).encode()
    with pytest.raises(DockercError, match="not a dockerc executable"):
        read_footer(io.BytesIO(data), "app")


@given(st.binary(max_size=400))
def test_any_other_file_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(DockercError, match="app: not a dockerc executable"):
        read_footer(io.BytesIO(data), "app")
