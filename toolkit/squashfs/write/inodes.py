"""Inodes and directories as squashfs stores them: two metadata streams written together.

A directory's listing says where its children's inodes are, so children are written first. Inode
numbers are given in the same order beforehand, because a directory's inode names its parent's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from toolkit.errors import RefusedError
from toolkit.limits import (
    MAX_DIRECTORY_TABLE,
    MAX_ENTRIES,
    MAX_INODE_TABLE,
    MAX_PATH,
    MAX_PAYLOAD_PATH,
)
from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.structs import (
    DEVICE_INODE,
    DIRECTORY_ENTRY,
    DIRECTORY_HEADER,
    DIRECTORY_INDEX,
    DIRECTORY_INODE,
    DIRECTORY_RUN,
    EXTENDED_DIRECTORY_INODE,
    EXTENDED_FILE_INODE,
    FILE_INODE,
    INODE_HEADER,
    IPC_INODE,
    METADATA_SIZE,
    NO_XATTR,
    SYMLINK_INODE,
    U32,
    InodeType,
    MetadataRef,
)
from toolkit.squashfs.tree import Inode
from toolkit.squashfs.write.metadata import MetadataStream
from toolkit.squashfs.write.placement import PlacedData
from toolkit.squashfs.write.xattrs import XattrTable

_MAX_IDS = 65535
_MAX_INDEXES = 65535
_LISTING_BIAS = 3
"""A directory's size counts `.` and `..` as three bytes that are not in the listing."""
_BASIC_LISTING = 0xFFFF
_U32_MAX = 0xFFFFFFFF


@dataclass(slots=True)
class _Record:
    """What is known of an inode while the tables are written."""

    number: int
    nlink: int = 0
    position: MetadataRef | None = None


@dataclass(slots=True)
class _Listing:
    """A directory's entries in the directory table: where, how long, and its index."""

    start: MetadataRef
    size: int = 0
    index: list[bytes] = field(default_factory=list)


class InodeTables:
    """The inode table, the directory table, and the ids and references that belong to them."""

    def __init__(self, data: PlacedData, xattrs: XattrTable, compressor: Compressor) -> None:
        self.inodes = MetadataStream(compressor)
        self.directories = MetadataStream(compressor)
        self.ids: dict[int, int] = {}
        self.references: list[int] = []
        """For the export table: entry i is the reference of inode number i + 1."""
        self._data = data
        self._xattrs = xattrs
        self._records: dict[Inode, _Record] = {}

    def write(self, root: Inode) -> int:
        """Write the whole tree; returns the root inode's reference."""
        order = _post_order(root)
        self._records = _numbered(order)
        self.references = [0] * len(self._records)
        for directory, parent in order:
            assert directory.children is not None
            for _, child in sorted(directory.children.items()):
                if child.children is None and self._records[child].position is None:
                    self._place(child, self._leaf(child))
            listing = self._listing(directory)
            # The root's parent is a number that no inode has, as mksquashfs does it.
            above = self._records[parent].number if parent else len(self._records) + 1
            self._place(directory, self._directory(directory, listing, above))
        self.inodes.finish()
        self.directories.finish()
        if self.inodes.size > MAX_INODE_TABLE or self.directories.size > MAX_DIRECTORY_TABLE:
            raise RefusedError("the image has too many files: no reader takes tables of that size")
        return self.references[self._records[root].number - 1]

    def _place(self, inode: Inode, data: bytes) -> None:
        record = self._records[inode]
        record.position = self.inodes.position
        self.references[record.number - 1] = record.position.reference
        self.inodes.write(data)

    def _header(self, inode: Inode, kind: int) -> bytes:
        return INODE_HEADER.pack(
            kind,
            inode.mode,
            self._id(inode.uid),
            self._id(inode.gid),
            inode.mtime,
            self._records[inode].number,
        )

    def _id(self, number: int) -> int:
        index = self.ids.setdefault(number, len(self.ids))
        if index >= _MAX_IDS:
            raise RefusedError(
                f"the image's files have more than {_MAX_IDS} owners; squashfs holds no more"
            )
        return index

    def _leaf(self, inode: Inode) -> bytes:
        nlink = self._records[inode].nlink
        xattr = self._xattrs.index(inode.xattrs)
        extended = xattr != NO_XATTR
        if inode.kind is InodeType.FILE:
            return self._file(inode, nlink, xattr)
        header = self._header(inode, inode.kind.extended if extended else inode.kind)
        tail = U32.pack(xattr) if extended else b""
        if inode.kind is InodeType.SYMLINK:
            return header + SYMLINK_INODE.pack(nlink, len(inode.target)) + inode.target + tail
        if inode.kind in (InodeType.BLOCK_DEVICE, InodeType.CHAR_DEVICE):
            return header + DEVICE_INODE.pack(nlink, _device_number(inode.device)) + tail
        return header + IPC_INODE.pack(nlink) + tail

    def _file(self, inode: Inode, nlink: int, xattr: int) -> bytes:
        size = inode.content.size
        start, sizes, holes, fragment, offset = self._data.place(inode.content)
        if nlink == 1 and xattr == NO_XATTR and not holes and max(start, size) <= _U32_MAX:
            header = self._header(inode, InodeType.FILE)
            return header + FILE_INODE.pack(start, fragment, offset, size) + sizes
        header = self._header(inode, InodeType.FILE.extended)
        # mksquashfs never lets a file be all hole: some drivers take 0 for "not known".
        holes = min(holes, max(size - 1, 0))
        fields = (start, size, holes, nlink, fragment, offset, xattr)
        return header + EXTENDED_FILE_INODE.pack(*fields) + sizes

    def _directory(self, inode: Inode, listing: _Listing, parent: int) -> bytes:
        xattr = self._xattrs.index(inode.xattrs)
        nlink = self._records[inode].nlink
        size = listing.size + _LISTING_BIAS
        block, offset = listing.start
        if xattr == NO_XATTR and size <= _BASIC_LISTING and not listing.index:
            header = self._header(inode, InodeType.DIRECTORY)
            return header + DIRECTORY_INODE.pack(block, nlink, size, offset, parent)
        index = listing.index[:_MAX_INDEXES]
        header = self._header(inode, InodeType.DIRECTORY.extended)
        return (
            header
            + EXTENDED_DIRECTORY_INODE.pack(nlink, size, block, parent, len(index), offset, xattr)
            + b"".join(index)
        )

    def _listing(self, directory: Inode) -> _Listing:
        """Runs of entries below a header each: one metadata block, nearby numbers, at most 256."""
        assert directory.children is not None
        stream = self.directories
        listing = _Listing(stream.position)
        indexed = 0
        run: list[bytes] = []
        base = block = 0

        def close() -> None:
            if run:
                data = DIRECTORY_HEADER.pack(len(run) - 1, block, base) + b"".join(run)
                stream.write(data)
                listing.size += len(data)
                run.clear()

        for name, child in sorted(directory.children.items()):
            record = self._records[child]
            assert record.position is not None
            near = -0x8000 <= record.number - base <= 0x7FFF
            if not (run and near and record.position.block == block and len(run) < DIRECTORY_RUN):
                close()
                base, block = record.number, record.position.block
                if listing.size - indexed >= METADATA_SIZE:
                    # One index entry a metadata block, so that a look-up reads one block of many.
                    at = stream.position.block
                    listing.index.append(
                        DIRECTORY_INDEX.pack(listing.size, at, len(name) - 1) + name
                    )
                    indexed = listing.size
            run.append(
                DIRECTORY_ENTRY.pack(
                    record.position.offset, record.number - base, child.kind, len(name) - 1
                )
                + name
            )
        close()
        return listing


def inode_numbers(root: Inode) -> dict[Inode, int]:
    """The numbers that the inodes of this tree get when it is written."""
    return {inode: record.number for inode, record in _numbered(_post_order(root)).items()}


def _numbered(order: list[tuple[Inode, Inode | None]]) -> dict[Inode, _Record]:
    records: dict[Inode, _Record] = {}
    names = 0
    for directory, _ in order:
        assert directory.children is not None
        names += len(directory.children)
        if names > MAX_ENTRIES:
            raise RefusedError(f"the image has more than {MAX_ENTRIES} names")
        subdirectories = 0
        for _, child in sorted(directory.children.items()):
            if child.children is not None:
                subdirectories += 1
                continue
            record = records.get(child)
            if record is None:
                record = records[child] = _Record(len(records) + 1)
            record.nlink += 1
        records[directory] = _Record(len(records) + 1, 2 + subdirectories)
    return records


def _post_order(root: Inode) -> list[tuple[Inode, Inode | None]]:
    """Every directory with its parent, children before parents, without recursion.

    Raises DockercError on a path that is longer than any reader takes.
    """
    order: list[tuple[Inode, Inode | None]] = []
    # The last is the length of the path to what is in it.
    waiting: list[tuple[Inode, Inode | None, int]] = [(root, None, 0)]
    while waiting:
        directory, parent, length = waiting.pop()
        order.append((directory, parent))
        assert directory.children is not None
        longest = length + max(map(len, directory.children), default=0)
        if longest > MAX_PAYLOAD_PATH:
            raise RefusedError(
                f"a path of the image has {longest} bytes; no program can name one of more than"
                f" {MAX_PATH}"
            )
        waiting += [
            (child, directory, length + len(name) + 1)
            for name, child in sorted(directory.children.items())
            if child.children is not None
        ]
    order.reverse()
    return order


def _device_number(device: tuple[int, int]) -> int:
    """The kernel's new_encode_dev: 12 bits of major between 8 and 12 bits of minor."""
    major, minor = device
    return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12
