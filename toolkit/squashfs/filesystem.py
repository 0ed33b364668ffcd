"""A squashfs as a tree of nodes, read when asked for: inodes, listings, contents, attributes.

Our own structures and not PySquashfsImage's: 200,000 inodes are read in a second where the library
takes half a minute, and every count is bounded before it is believed. An image that is damaged or
hostile gets a DockercError, never a loop, a name that leaves its directory, or memory without end.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, NamedTuple

from toolkit.errors import DockercError
from toolkit.squashfs.blocks import Blocks, little_endian, stored_size
from toolkit.squashfs.structs import (
    DEVICE_INODE,
    DIRECTORY_ENTRY,
    DIRECTORY_HEADER,
    DIRECTORY_INODE,
    DIRECTORY_RUN,
    EXTENDED_DIRECTORY_INODE,
    EXTENDED_FILE_INODE,
    FILE_INODE,
    FRAGMENT_ENTRY,
    INODE_HEADER,
    IPC_INODE,
    MAX_NAME,
    MAX_SYMLINK,
    NO_FRAGMENT,
    NO_TABLE,
    NO_XATTR,
    SYMLINK_INODE,
    U32,
    XATTR_ID,
    XATTR_KEY,
    XATTR_PREFIXES,
    XATTR_TABLE,
    InodeType,
    Superblock,
)
from toolkit.terminal import printable

MAX_ENTRIES = 4_000_000
"""Names in one tree, as many as a layer may bring."""
_MAX_LISTING = 256 << 20
_MAX_DEPTH = 1100
"""A little more than what the builder takes."""
_MAX_XATTRS = 64 << 10
_MAX_LINKS = 40
_LISTING_BIAS = 3
_XATTR_OUT_OF_LINE = 0x100


class Place(NamedTuple):
    """A position in a metadata table: a block, relative to the table, and an offset in it."""

    block: int
    offset: int


_NOWHERE = Place(0, 0)


class Entry(NamedTuple):
    """A name in a directory, and which inode it names: kind, place and number must fit."""

    name: bytes
    kind: InodeType
    place: Place
    number: int


@dataclass(slots=True)
class Node:
    """An inode. Fields that its kind does not have keep their defaults."""

    place: Place
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
    words: Place = _NOWHERE
    """Where the blocks' size words are in the inode table."""
    fragment: int = NO_FRAGMENT
    fragment_offset: int = 0
    listing: Place = _NOWHERE
    target: bytes = b""
    device: tuple[int, int] = (0, 0)

    @property
    def is_directory(self) -> bool:
        return self.kind is InodeType.DIRECTORY

    @property
    def is_file(self) -> bool:
        return self.kind is InodeType.FILE


class Chunk(NamedTuple):
    """A piece of a file; `data` None is a hole."""

    size: int
    data: bytes | None


class Filesystem:
    """The squashfs that starts at `offset` of `file`."""

    def __init__(self, file: BinaryIO, offset: int, superblock: Superblock) -> None:
        self.superblock = superblock
        self.blocks = Blocks(file, offset, superblock)
        self.max_entries = min(MAX_ENTRIES, superblock.bytes_used)
        """No tree has more names than its image has bytes."""

    @property
    def root(self) -> Node:
        """The bundle's directory."""
        reference = self.superblock.root_inode
        node = self.node(Place(reference >> 16, reference & 0xFFFF))
        if not node.is_directory:
            raise DockercError("the root of its squashfs is no directory")
        return node

    def node(self, place: Place) -> Node:
        """The inode at a place of the inode table."""
        data, at = self._inodes(place, INODE_HEADER.size)
        kind, mode, uid, gid, mtime, number = INODE_HEADER.unpack(data)
        if not 1 <= kind <= 14 or mode > 0o7777:
            raise DockercError(f"an inode of its squashfs is of the unknown type {kind}")
        basic = InodeType((kind - 1) % 7 + 1)
        node = Node(place, basic, mode, self._id(uid), self._id(gid), mtime, number)
        _READERS[basic](self, node, at, kind > 7)
        return node

    def entries(self, directory: Node) -> Iterator[Entry]:
        """What a directory holds, in its order, which is that of bytes.

        Raises DockercError on a name that is none, twice there, or out of order.
        """
        left = directory.size - _LISTING_BIAS
        if left > _MAX_LISTING:
            raise DockercError(f"a directory of its squashfs claims {left} bytes of names")
        at, before = directory.listing, b""
        while left > 0:
            data, at = self._listing(at, DIRECTORY_HEADER.size)
            left -= len(data)
            count, block, base = DIRECTORY_HEADER.unpack(data)
            if count >= DIRECTORY_RUN:
                raise DockercError(f"a directory of its squashfs claims a run of {count + 1} names")
            for _ in range(count + 1):
                data, at = self._listing(at, DIRECTORY_ENTRY.size)
                offset, difference, kind, length = DIRECTORY_ENTRY.unpack(data)
                name, at = self._listing(at, min(length, MAX_NAME) + 1)
                left -= len(data) + len(name)
                if name in (b".", b"..") or b"/" in name or b"\0" in name or length >= MAX_NAME:
                    raise DockercError(f"a name in its squashfs is none: {show(name)}")
                if name <= before or not 1 <= kind <= 7 or left < 0:
                    raise DockercError(f"a directory of its squashfs is damaged at {show(name)}")
                before = name
                number = base + difference
                yield Entry(name, InodeType(kind), Place(block, offset), number)

    def walk(self, top: Node, path: bytes = b"") -> Iterator[tuple[bytes, Node]]:
        """Everything below `top`, itself first: directories before what is in them.

        Raises DockercError where a directory is entered twice, as in a loop, or too deep.
        """
        waiting = [(path, top, 0)]
        entered = {top.place}
        count = 0
        while waiting:
            path, node, depth = waiting.pop()
            yield path, node
            if not node.is_directory:
                continue
            if depth > _MAX_DEPTH:
                raise DockercError(f"its squashfs is more than {_MAX_DEPTH} directories deep")
            children = []
            for entry in self.entries(node):
                count += 1
                if count > self.max_entries:
                    raise DockercError(f"its squashfs has more than {self.max_entries} names")
                child = self.child(entry)
                if child.is_directory:
                    if child.place in entered:
                        raise DockercError(f"its squashfs has a loop at {show(entry.name)}")
                    entered.add(child.place)
                children.append((path + b"/" * bool(path) + entry.name, child, depth + 1))
            waiting += reversed(children)

    def list(self, top: Node, *, recursive: bool) -> Iterator[tuple[bytes, Node]]:
        """`top` itself, named b"", and what is in it, with `recursive` at any depth."""
        if recursive:
            yield from self.walk(top)
            return
        yield b"", top
        for entry in self.entries(top) if top.is_directory else ():
            yield entry.name, self.child(entry)

    def child(self, entry: Entry) -> Node:
        """The inode of an entry; raises DockercError when it is of another kind than told."""
        node = self.node(entry.place)
        if (node.kind, node.number) != (entry.kind, entry.number):
            raise DockercError(f"an entry of its squashfs is not what it says: {show(entry.name)}")
        return node

    def find(self, path: bytes, top: Node | None = None, *, follow: bool = True) -> Node | None:
        """The node at `path` below `top` (the root); None when there is none.

        Symlinks are followed as inside a container of `top`, the last one only with `follow`.
        Raises DockercError on a loop of them.
        """
        trail = [top or self.root]
        parts = [part for part in reversed(path.split(b"/")) if part]
        followed = 0
        while parts:
            part = parts.pop()
            if part == b"..":
                del trail[max(1, len(trail) - 1) :]
            if part in (b".", b".."):
                continue
            if not trail[-1].is_directory:
                return None
            entry = next((e for e in self.entries(trail[-1]) if e.name == part), None)
            if entry is None:
                return None
            node = self.child(entry)
            if node.kind is InodeType.SYMLINK and (parts or follow):
                followed += 1
                if followed > _MAX_LINKS:
                    raise DockercError(f"{show(path)} runs through a loop of symlinks")
                if node.target.startswith(b"/"):
                    del trail[1:]
                parts += [part for part in reversed(node.target.split(b"/")) if part]
            else:
                trail.append(node)
        return trail[-1]

    def words(self, node: Node) -> Iterator[int]:
        """A file's size words, one for each block."""
        left, at = node.blocks, node.words
        while left:
            data, at = self._inodes(at, 4 * min(left, 1024))
            left -= len(data) // 4
            yield from little_endian("I", data)

    def content(self, node: Node) -> Iterator[Chunk]:
        """A file's bytes, a block at a time, holes as such; the chunks add up to its size."""
        size, left, start = self.superblock.block_size, node.size, node.start
        for word in self.words(node):
            wanted = min(size, left)
            data = None
            if stored_size(word):
                data = self.blocks.data(start, word, size)
                if len(data) != wanted:
                    raise DockercError("a data block of its squashfs is not of its file's size")
            elif word:
                raise DockercError("a data block of its squashfs is empty")
            start += stored_size(word)
            left -= wanted
            yield Chunk(wanted, data)
        if left:
            data = self.blocks.data(*self.fragment(node.fragment), size)
            piece = data[node.fragment_offset : node.fragment_offset + left]
            if len(piece) != left:
                raise DockercError("a file of its squashfs runs past the end of its fragment")
            yield Chunk(left, piece)

    def read(self, node: Node, limit: int) -> bytes:
        """A small file's content at once; raises DockercError when it has more than `limit`."""
        if node.size > limit:
            raise DockercError(f"a file of its payload has {node.size} bytes; at most {limit} fit")
        return b"".join(bytes(c.size) if c.data is None else c.data for c in self.content(node))

    def fragment(self, number: int) -> tuple[int, int]:
        """A fragment's start and size word."""
        if number >= self.superblock.fragments:
            raise DockercError(f"its squashfs has no fragment {number}")
        start, word, _ = FRAGMENT_ENTRY.unpack_from(
            self.fragment_table, number * FRAGMENT_ENTRY.size
        )
        return start, word

    @cached_property
    def fragment_table(self) -> bytes:
        """All of it, uncompressed."""
        count = self.superblock.fragments
        if not count:
            return b""
        return self.blocks.lookup_table(self.superblock.fragment_table, count * FRAGMENT_ENTRY.size)

    def xattrs(self, node: Node) -> tuple[tuple[bytes, bytes], ...]:
        """A node's extended attributes, names with their namespaces."""
        if node.xattr == NO_XATTR:
            return ()
        if self.superblock.xattr_table == NO_TABLE:
            raise DockercError("an inode of its squashfs has attributes, of which there are none")
        header = self.blocks.raw(self.superblock.xattr_table, XATTR_TABLE.size)
        start, count, _ = XATTR_TABLE.unpack(header)
        if node.xattr >= count:
            raise DockercError(f"its squashfs has no set of attributes {node.xattr}")
        per_block = 8192 // XATTR_ID.size
        list_at = self.superblock.xattr_table + XATTR_TABLE.size
        (block,) = self.blocks.pointers(list_at + 8 * (node.xattr // per_block), 1)
        ids, _ = self._read(0, Place(block, node.xattr % per_block * XATTR_ID.size), XATTR_ID.size)
        reference, pairs, _ = XATTR_ID.unpack(ids)
        found, at = [], Place(reference >> 16, reference & 0xFFFF)
        size = 0
        for _ in range(pairs):
            (name, value), at = self._xattr(start, at)
            size += len(name) + len(value)
            if size > _MAX_XATTRS * 2:
                raise DockercError("an inode of its squashfs claims too many attributes")
            found.append((name, value))
        return tuple(found)

    def _xattr(self, start: int, at: Place) -> tuple[tuple[bytes, bytes], Place]:
        data, at = self._read(start, at, XATTR_KEY.size)
        kind, length = XATTR_KEY.unpack(data)
        prefix = _XATTR_PREFIXES.get(kind & ~_XATTR_OUT_OF_LINE)
        if prefix is None or not 0 < length < MAX_NAME:
            raise DockercError("an extended attribute of its squashfs has no name")
        name, at = self._read(start, at, length)
        value, after = self._xattr_value(start, at)
        if kind & _XATTR_OUT_OF_LINE:
            if len(value) != 8:
                raise DockercError("an extended attribute of its squashfs points nowhere")
            reference = int.from_bytes(value, "little")
            value, _ = self._xattr_value(start, Place(reference >> 16, reference & 0xFFFF))
        return (prefix + name, value), after

    def _xattr_value(self, start: int, at: Place) -> tuple[bytes, Place]:
        data, at = self._read(start, at, U32.size)
        (length,) = U32.unpack(data)
        if length > _MAX_XATTRS:
            raise DockercError(f"an extended attribute of its squashfs claims {length} bytes")
        return self._read(start, at, length)

    @cached_property
    def _ids(self) -> array[int]:
        table = self.blocks.lookup_table(self.superblock.id_table, 4 * self.superblock.ids)
        return little_endian("I", table)

    def _id(self, index: int) -> int:
        try:
            return self._ids[index]
        except IndexError:
            raise DockercError(f"its squashfs has no owner {index}") from None

    def _inodes(self, at: Place, size: int) -> tuple[bytes, Place]:
        return self._read(self.superblock.inode_table, at, size)

    def _listing(self, at: Place, size: int) -> tuple[bytes, Place]:
        return self._read(self.superblock.directory_table, at, size)

    def _read(self, table: int, at: Place, size: int) -> tuple[bytes, Place]:
        """`size` bytes of a metadata table, and the place after them."""
        content, after = self.blocks.metadata(table + at.block)
        end = at.offset + size
        if end <= len(content):
            return content[at.offset : end], Place(at.block, end)
        if at.offset > len(content):
            raise DockercError("its squashfs points past the end of a metadata block")
        pieces = [content[at.offset :]]
        size -= len(pieces[0])
        while True:
            block = after
            content, after = self.blocks.metadata(block)
            pieces.append(content[:size])
            size -= len(pieces[-1])
            if not size:
                return b"".join(pieces), Place(block - table, len(pieces[-1]))

    def _directory(self, node: Node, at: Place, extended: bool) -> None:
        if extended:
            data, _ = self._inodes(at, EXTENDED_DIRECTORY_INODE.size)
            fields = EXTENDED_DIRECTORY_INODE.unpack(data)
            node.nlink, node.size, block, _, _, offset, node.xattr = fields
        else:
            data, _ = self._inodes(at, DIRECTORY_INODE.size)
            block, node.nlink, node.size, offset, _ = DIRECTORY_INODE.unpack(data)
        node.listing = Place(block, offset)

    def _file(self, node: Node, at: Place, extended: bool) -> None:
        if extended:
            data, at = self._inodes(at, EXTENDED_FILE_INODE.size)
            fields = EXTENDED_FILE_INODE.unpack(data)
            node.start, node.size, _, node.nlink, *_ = fields
            node.fragment, node.fragment_offset, node.xattr = fields[4:]
        else:
            data, at = self._inodes(at, FILE_INODE.size)
            node.start, node.fragment, node.fragment_offset, node.size = FILE_INODE.unpack(data)
        node.words = at
        node.blocks = block_count(node.size, self.superblock.block_size, node.fragment)

    def _symlink(self, node: Node, at: Place, extended: bool) -> None:
        data, at = self._inodes(at, SYMLINK_INODE.size)
        node.nlink, node.size = SYMLINK_INODE.unpack(data)
        if not 0 < node.size <= MAX_SYMLINK:
            raise DockercError(f"a symlink of its squashfs claims {node.size} bytes")
        node.target, at = self._inodes(at, node.size)
        self._xattr_index(node, at, extended)

    def _device(self, node: Node, at: Place, extended: bool) -> None:
        data, at = self._inodes(at, DEVICE_INODE.size)
        node.nlink, number = DEVICE_INODE.unpack(data)
        node.device = (number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00)
        self._xattr_index(node, at, extended)

    def _ipc(self, node: Node, at: Place, extended: bool) -> None:
        data, at = self._inodes(at, IPC_INODE.size)
        (node.nlink,) = IPC_INODE.unpack(data)
        self._xattr_index(node, at, extended)

    def _xattr_index(self, node: Node, at: Place, extended: bool) -> None:
        if extended:
            data, _ = self._inodes(at, U32.size)
            (node.xattr,) = U32.unpack(data)


_XATTR_PREFIXES = {number: prefix for prefix, number in XATTR_PREFIXES.items()}
_READERS: dict[InodeType, Callable[[Filesystem, Node, Place, bool], None]] = {
    InodeType.DIRECTORY: Filesystem._directory,
    InodeType.FILE: Filesystem._file,
    InodeType.SYMLINK: Filesystem._symlink,
    InodeType.BLOCK_DEVICE: Filesystem._device,
    InodeType.CHAR_DEVICE: Filesystem._device,
    InodeType.FIFO: Filesystem._ipc,
    InodeType.SOCKET: Filesystem._ipc,
}


def block_count(size: int, block_size: int, fragment: int) -> int:
    """The blocks of a file of `size` bytes: its tail is one of them unless in a fragment."""
    return size // block_size if fragment != NO_FRAGMENT else -(-size // block_size)


def show(name: bytes) -> str:
    """A name for people: what is no UTF-8 or would move the cursor is escaped."""
    return printable(name[:200].decode("utf-8", "backslashreplace"))
