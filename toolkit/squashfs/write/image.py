"""A squashfs 4.0 image from a tree and its file data.

Layout, in the order that the kernel checks: superblock, compression options, file data, padding,
inodes, directories, fragments, export table, ids, xattrs. The padding stands before the tables so
that `bytes_used` is a multiple of 4 KiB and nothing has to follow the image: a loop device, which
counts in sectors, can then hold exactly the squashfs.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import BinaryIO

from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.structs import (
    COMPRESSION_ZSTD,
    FLAG_COMPRESSION_OPTIONS,
    FLAG_DUPLICATES,
    FLAG_EXPORTABLE,
    FLAG_NO_FRAGMENTS,
    FLAG_NO_XATTRS,
    METADATA_UNCOMPRESSED,
    NO_TABLE,
    SUPERBLOCK_SIZE,
    Superblock,
)
from toolkit.squashfs.tree import Inode, walk
from toolkit.squashfs.write.inodes import InodeTables
from toolkit.squashfs.write.metadata import encode_table
from toolkit.squashfs.write.placement import FileData, PlacedData
from toolkit.squashfs.write.xattrs import XattrTable

_ALIGNMENT = 4096
METADATA_LEVEL = 12
_OPTIONS = struct.Struct("<HI")
OPTIONS_SIZE = _OPTIONS.size
"""Bytes of the compression options, with the header of their block: the data is behind them."""


def write_squashfs(
    output: BinaryIO,
    root: Inode,
    data: FileData,
    *,
    block_size: int,
    level: int | None,
    mkfs_time: int,
) -> Superblock:
    """Append the image to `output`, a real file; returns its superblock.

    `level` only tells readers how the data was compressed, and whether the tables are to be;
    `mkfs_time` is in seconds since 1970.
    """
    start = output.tell()
    # Readers that have no option for "stored" take any level; blocks say themselves what they are.
    options = _OPTIONS.pack(4 | METADATA_UNCOMPRESSED, level or 1)
    output.write(bytes(SUPERBLOCK_SIZE) + options)
    data.want(walk(root))
    position = data.copy(output, SUPERBLOCK_SIZE + len(options))
    with Compressor(level and METADATA_LEVEL) as compressor:
        tables, superblock = encode_tables(root, data, position, compressor)
    superblock = replace(superblock, block_size=block_size, mkfs_time=mkfs_time)
    output.write(tables)
    output.seek(start)
    output.write(superblock.encode())
    output.seek(start + superblock.bytes_used)
    return superblock


def encode_tables(
    root: Inode, data: PlacedData, position: int, compressor: Compressor
) -> tuple[bytes, Superblock]:
    """Everything after the data, which ends at `position`, padded to end on a 4 KiB boundary.

    The superblock lacks what the tables do not know: time and block size.
    """
    xattrs = XattrTable(compressor)
    inodes = InodeTables(data, xattrs, compressor)
    root_reference = inodes.write(root)
    ids = struct.pack(f"<{len(inodes.ids)}I", *inodes.ids)
    references = struct.pack(f"<{len(inodes.references)}Q", *inodes.references)

    def layout(at: int) -> tuple[list[bytes], Superblock]:
        inode_table = at
        directory_table = inode_table + len(inodes.inodes.output)
        end = directory_table + len(inodes.directories.output)
        parts = [bytes(inodes.inodes.output), bytes(inodes.directories.output)]
        fragment_table = NO_TABLE
        if data.fragment_count:
            part, fragment_table = encode_table(data.fragment_table, end, compressor)
            parts.append(part)
            end += len(part)
        part, export_table = encode_table(references, end, compressor)
        parts.append(part)
        end += len(part)
        part, id_table = encode_table(ids, end, compressor)
        parts.append(part)
        end += len(part)
        xattr_table = NO_TABLE
        if encoded := xattrs.encode(end):
            part, xattr_table = encoded
            parts.append(part)
            end += len(part)
        flags = FLAG_DUPLICATES | FLAG_EXPORTABLE | FLAG_COMPRESSION_OPTIONS
        flags |= FLAG_NO_FRAGMENTS * (fragment_table == NO_TABLE)
        flags |= FLAG_NO_XATTRS * (xattr_table == NO_TABLE)
        return parts, Superblock(
            inodes=len(inodes.references), mkfs_time=0, block_size=0,
            fragments=data.fragment_count, compression=COMPRESSION_ZSTD, flags=flags,
            ids=len(inodes.ids), root_inode=root_reference, bytes_used=end, id_table=id_table,
            xattr_table=xattr_table, inode_table=inode_table, directory_table=directory_table,
            fragment_table=fragment_table, export_table=export_table,
        )  # fmt: skip

    # The tables' sizes do not depend on where they stand: measure once, then place them.
    padding = -layout(position)[1].bytes_used % _ALIGNMENT
    parts, superblock = layout(position + padding)
    return bytes(padding) + b"".join(parts), superblock
