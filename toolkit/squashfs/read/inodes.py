"""A squashfs's inodes, decoded one at a time, each count bounded before it is believed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from toolkit.errors import DamagedError
from toolkit.limits import MAX_ID, MAX_TARGET
from toolkit.squashfs.read.blocks import Blocks, little_endian
from toolkit.squashfs.structs import (
    DEVICE_INODE,
    DIRECTORY_INODE,
    EXTENDED_DIRECTORY_INODE,
    EXTENDED_FILE_INODE,
    FILE_INODE,
    INODE_HEADER,
    IPC_INODE,
    NO_FRAGMENT,
    NO_XATTR,
    SYMLINK_INODE,
    U32,
    InodeType,
    MetadataRef,
)

_NOWHERE = MetadataRef(0, 0)


@dataclass(slots=True)
class Node:
    """An inode. Fields that its kind does not have keep their defaults."""

    place: MetadataRef
    kind: InodeType
    mode: int
    uid: int
    gid: int
    mtime: int
    number: int
    nlink: int = 1
    size: int = 0
    """A file's bytes; of a directory, its listing's."""
    xattr: int = NO_XATTR
    start: int = 0
    """A file's first block, from the start of the image."""
    blocks: int = 0
    words: MetadataRef = _NOWHERE
    """Where the blocks' size words are in the inode table."""
    fragment: int = NO_FRAGMENT
    fragment_offset: int = 0
    listing: MetadataRef = _NOWHERE
    target: bytes = b""
    device: tuple[int, int] = (0, 0)

    @property
    def is_directory(self) -> bool:
        return self.kind is InodeType.DIRECTORY

    @property
    def is_file(self) -> bool:
        return self.kind is InodeType.FILE


class NodeReader:
    """Reads inodes of the squashfs that has these blocks."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, self._superblock = blocks, blocks.superblock

    def node(self, place: MetadataRef) -> Node:
        """The inode at a place of the inode table."""
        data, at = self._inodes(place, INODE_HEADER.size)
        kind, mode, uid, gid, mtime, number = INODE_HEADER.unpack(data)
        if not 1 <= kind <= 14 or mode > 0o7777:
            raise DamagedError(f"an inode of its squashfs is of the unknown type {kind}")
        basic = InodeType((kind - 1) % 7 + 1)
        node = Node(place, basic, mode, self._id(uid), self._id(gid), mtime, number)
        _READERS[basic](self, node, at, kind > 7)
        return node

    @cached_property
    def _ids(self) -> array[int]:
        table = self._blocks.lookup_table(self._superblock.id_table, 4 * self._superblock.ids)
        ids = little_endian("I", table)
        if ids and max(ids) > MAX_ID:
            raise DamagedError(f"its squashfs has an owner {max(ids)}, which is not a valid id")
        return ids

    def _id(self, index: int) -> int:
        if index >= len(self._ids):
            raise DamagedError(f"its squashfs has no owner {index}")
        return self._ids[index]

    def words(self, node: Node) -> Iterator[int]:
        """A file's size words, one for each block."""
        left, at = node.blocks, node.words
        while left:
            data, at = self._inodes(at, 4 * min(left, 1024))
            left -= len(data) // 4
            yield from little_endian("I", data)

    def _directory(self, node: Node, at: MetadataRef, extended: bool) -> None:
        if extended:
            data, _ = self._inodes(at, EXTENDED_DIRECTORY_INODE.size)
            fields = EXTENDED_DIRECTORY_INODE.unpack(data)
            node.nlink, node.size, block, _, _, offset, node.xattr = fields
        else:
            data, _ = self._inodes(at, DIRECTORY_INODE.size)
            block, node.nlink, node.size, offset, _ = DIRECTORY_INODE.unpack(data)
        node.listing = MetadataRef(block, offset)

    def _file(self, node: Node, at: MetadataRef, extended: bool) -> None:
        if extended:
            data, at = self._inodes(at, EXTENDED_FILE_INODE.size)
            fields = EXTENDED_FILE_INODE.unpack(data)
            node.start, node.size, _, node.nlink, *_ = fields
            node.fragment, node.fragment_offset, node.xattr = fields[4:]
        else:
            data, at = self._inodes(at, FILE_INODE.size)
            node.start, node.fragment, node.fragment_offset, node.size = FILE_INODE.unpack(data)
        node.words = at
        node.blocks = block_count(node.size, self._superblock.block_size, node.fragment)

    def _symlink(self, node: Node, at: MetadataRef, extended: bool) -> None:
        data, at = self._inodes(at, SYMLINK_INODE.size)
        node.nlink, node.size = SYMLINK_INODE.unpack(data)
        if not 0 < node.size <= MAX_TARGET:
            raise DamagedError(f"a symlink of its squashfs claims {node.size} bytes")
        node.target, at = self._inodes(at, node.size)
        if b"\0" in node.target:
            raise DamagedError("a symlink's target of its squashfs holds a zero byte")
        self._xattr_index(node, at, extended)

    def _device(self, node: Node, at: MetadataRef, extended: bool) -> None:
        data, at = self._inodes(at, DEVICE_INODE.size)
        node.nlink, number = DEVICE_INODE.unpack(data)
        node.device = (number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00)
        self._xattr_index(node, at, extended)

    def _ipc(self, node: Node, at: MetadataRef, extended: bool) -> None:
        data, at = self._inodes(at, IPC_INODE.size)
        (node.nlink,) = IPC_INODE.unpack(data)
        self._xattr_index(node, at, extended)

    def _xattr_index(self, node: Node, at: MetadataRef, extended: bool) -> None:
        if extended:
            data, _ = self._inodes(at, U32.size)
            (node.xattr,) = U32.unpack(data)

    def _inodes(self, at: MetadataRef, size: int) -> tuple[bytes, MetadataRef]:
        return self._blocks.read(self._superblock.inode_table, at, size)


_READERS: dict[InodeType, Callable[[NodeReader, Node, MetadataRef, bool], None]] = {
    InodeType.DIRECTORY: NodeReader._directory,
    InodeType.FILE: NodeReader._file,
    InodeType.SYMLINK: NodeReader._symlink,
    InodeType.BLOCK_DEVICE: NodeReader._device,
    InodeType.CHAR_DEVICE: NodeReader._device,
    InodeType.FIFO: NodeReader._ipc,
    InodeType.SOCKET: NodeReader._ipc,
}


def block_count(size: int, block_size: int, fragment: int) -> int:
    """The blocks of a file of `size` bytes: its tail is one of them unless in a fragment."""
    return size // block_size if fragment != NO_FRAGMENT else -(-size // block_size)
