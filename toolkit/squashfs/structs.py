"""Squashfs 4.0's on-disk structures, all little-endian.

Source: the kernel's fs/squashfs/squashfs_fs.h and Documentation/filesystems/squashfs.rst.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from toolkit.errors import DamagedError, UnsupportedError

MAGIC = b"hsqs"
SUPERBLOCK_SIZE = 96
METADATA_SIZE = 8192
"""Metadata (inodes, directories, tables) is cut into blocks of this many bytes."""
METADATA_UNCOMPRESSED = 0x8000
"""Set in a metadata block's two-byte header when it is stored as it is."""
DATA_UNCOMPRESSED = 1 << 24
"""Set in a data block's or fragment's size word when it is stored as it is."""
NO_FRAGMENT = 0xFFFFFFFF
NO_XATTR = 0xFFFFFFFF
NO_TABLE = 0xFFFFFFFFFFFFFFFF
MIN_BLOCK_SIZE = 4096
MAX_BLOCK_SIZE = 1 << 20
COMPRESSION_ZSTD = 6
COMPRESSION_NAMES = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}

FLAG_NO_FRAGMENTS = 0x0010
FLAG_DUPLICATES = 0x0040
FLAG_EXPORTABLE = 0x0080
FLAG_NO_XATTRS = 0x0200
FLAG_COMPRESSION_OPTIONS = 0x0400


class InodeType(IntEnum):
    """An inode's type as stored in its header; directory entries hold the basic one."""

    DIRECTORY = 1
    FILE = 2
    SYMLINK = 3
    BLOCK_DEVICE = 4
    CHAR_DEVICE = 5
    FIFO = 6
    SOCKET = 7

    @property
    def extended(self) -> int:
        """The extended form's number: with xattrs, 64-bit sizes, sparse counts."""
        return int(self) + 7


class MetadataRef(NamedTuple):
    """A position in a metadata table: a block's start, relative to the table, and an offset."""

    block: int
    offset: int

    @classmethod
    def of(cls, reference: int) -> MetadataRef:
        """The place that a stored reference means: 48 bits of block, 16 of offset."""
        return cls(reference >> 16, reference & 0xFFFF)

    @property
    def reference(self) -> int:
        """As it is stored."""
        return self.block << 16 | self.offset


INODE_HEADER = struct.Struct("<HHHHII")
"""type, permissions, uid index, gid index, mtime, inode number."""
DIRECTORY_INODE = struct.Struct("<IIHHI")
"""start block, nlink, file size, offset, parent inode number."""
EXTENDED_DIRECTORY_INODE = struct.Struct("<IIIIHHI")
"""nlink, file size, start block, parent inode number, index count, offset, xattr index."""
DIRECTORY_INDEX = struct.Struct("<III")
"""position in the listing, metadata block of it, name length - 1; the name follows."""
FILE_INODE = struct.Struct("<IIII")
"""start block, fragment index, offset in the fragment, file size; block sizes follow."""
EXTENDED_FILE_INODE = struct.Struct("<QQQIIII")
"""start block, file size, sparse bytes, nlink, fragment index, offset, xattr index."""
SYMLINK_INODE = struct.Struct("<II")
"""nlink, target length; the target follows, and in the extended form the xattr index."""
DEVICE_INODE = struct.Struct("<II")
"""nlink, device number."""
IPC_INODE = struct.Struct("<I")
"""nlink."""
U32 = struct.Struct("<I")

DIRECTORY_HEADER = struct.Struct("<III")
"""count - 1, start of the inodes' metadata block, inode number that entries are relative to."""
DIRECTORY_ENTRY = struct.Struct("<HhHH")
"""offset of the inode in its metadata block, inode number difference, type, name length - 1."""
DIRECTORY_RUN = 256
"""Entries below one header, at most."""

FRAGMENT_ENTRY = struct.Struct("<QII")
"""start, size word, unused."""
XATTR_ID = struct.Struct("<QII")
"""reference to the first pair, pairs, bytes of them uncompressed."""
XATTR_TABLE = struct.Struct("<QII")
"""start of the pairs' metadata, ids, unused; the ids' block list follows."""
XATTR_KEY = struct.Struct("<HH")
"""prefix type, length of the name without its prefix."""
XATTR_PREFIXES = {b"user.": 0, b"trusted.": 1, b"security.": 2}
"""The namespaces that squashfs can store; `system.` (POSIX ACLs) is not among them."""

_SUPERBLOCK = struct.Struct("<4sIIIIHHHHHHQQQQQQQQ")


@dataclass(frozen=True)
class Superblock:
    """The first 96 bytes. Table starts are offsets from the superblock's own start."""

    inodes: int
    mkfs_time: int
    block_size: int
    fragments: int
    compression: int
    flags: int
    ids: int
    root_inode: int
    bytes_used: int
    id_table: int
    xattr_table: int
    inode_table: int
    directory_table: int
    fragment_table: int
    export_table: int

    @classmethod
    def decode(cls, data: bytes) -> Superblock:
        """Parse and bound; raises DockercError when this is no squashfs 4.0 superblock."""
        if len(data) < SUPERBLOCK_SIZE:
            raise DamagedError("the squashfs is cut short: no room for its superblock")
        fields = _SUPERBLOCK.unpack(data[:SUPERBLOCK_SIZE])
        (magic, inodes, mkfs_time, block_size, fragments) = fields[:5]
        (compression, block_log, flags, ids, major, minor) = fields[5:11]
        if magic != MAGIC:
            raise DamagedError("no squashfs stands where the footer points: wrong magic")
        if (major, minor) != (4, 0):
            raise UnsupportedError(f"the squashfs is version {major}.{minor}; only 4.0 is known")
        if not MIN_BLOCK_SIZE <= block_size <= MAX_BLOCK_SIZE or block_size != 1 << block_log:
            raise DamagedError(f"the squashfs claims a block size of {block_size} bytes")
        root_inode, bytes_used = fields[11:13]
        if bytes_used < SUPERBLOCK_SIZE:
            raise DamagedError(f"the squashfs claims to be {bytes_used} bytes long")
        tables = fields[13:]
        if fragments > inodes:
            raise DamagedError(f"the squashfs claims {fragments} fragments for {inodes} files")
        id_table, xattr_table, inode_table, directory_table, fragment_table, export_table = tables
        present = [at for at in (xattr_table, export_table) if at != NO_TABLE]
        if fragments:
            present.append(fragment_table)
        if not all(
            SUPERBLOCK_SIZE <= at <= bytes_used
            for at in (id_table, inode_table, directory_table, *present)
        ):
            raise DamagedError("the squashfs claims to have a table beyond its end")
        return cls(
            inodes, mkfs_time, block_size, fragments, compression, flags, ids, root_inode,
            bytes_used, *tables,
        )  # fmt: skip

    def encode(self) -> bytes:
        """The 96 bytes on disk."""
        return _SUPERBLOCK.pack(
            MAGIC, self.inodes, self.mkfs_time, self.block_size, self.fragments,
            self.compression, self.block_size.bit_length() - 1, self.flags, self.ids, 4, 0,
            self.root_inode, self.bytes_used, self.id_table, self.xattr_table,
            self.inode_table, self.directory_table, self.fragment_table, self.export_table,
        )  # fmt: skip
