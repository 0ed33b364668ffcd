"""A squashfs as a tree of nodes, read when asked for: inodes, listings, contents, attributes.

Our own structures and not PySquashfsImage's: 200,000 inodes are read in a second where the library
takes half a minute, and every count is bounded before it is believed. An image that is damaged or
hostile gets a DockercError, never a loop, a name that leaves its directory, or memory without end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import BinaryIO, NamedTuple

from toolkit.errors import DamagedError, DockercError, RefusedError
from toolkit.files.printable import show
from toolkit.limits import (
    MAX_DEPTH,
    MAX_DIRECTORY_TABLE,
    MAX_ENTRIES,
    MAX_NAME,
    MAX_PATH,
    MAX_PAYLOAD_PATH,
)
from toolkit.squashfs.read.blocks import Blocks, stored_size
from toolkit.squashfs.read.census import Census
from toolkit.squashfs.read.inodes import Node, NodeReader
from toolkit.squashfs.read.xattrs import Attributes
from toolkit.squashfs.structs import (
    DIRECTORY_ENTRY,
    DIRECTORY_HEADER,
    DIRECTORY_RUN,
    FRAGMENT_ENTRY,
    InodeType,
    MetadataRef,
    Superblock,
)

_MAX_DEPTH = MAX_DEPTH + 1
_MAX_LINKS = 40
_MAX_LOOKED_AT = 1_000_000
"""Names, in all look-ups: symlinks can lead through a huge directory thousands of times."""
_MAX_OVERLAP = 8
"""Times that the data of all files may be read under different starts: equal files share theirs."""
_LISTING_BIAS = 3


class Entry(NamedTuple):
    """A name in a directory, and which inode it names: kind, place and number must fit."""

    name: bytes
    kind: InodeType
    place: MetadataRef
    number: int


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
        self._looked_at = self._stored = 0
        self._starts: set[int] = set()
        nodes, attributes = NodeReader(self.blocks), Attributes(self.blocks)
        self.node = nodes.node
        self.words = nodes.words
        self.xattrs = attributes.of

    @property
    def root(self) -> Node:
        """The bundle's directory."""
        node = self.node(MetadataRef.of(self.superblock.root_inode))
        if not node.is_directory:
            raise DamagedError("the root of its squashfs is no directory")
        return node

    def entries(self, directory: Node) -> Iterator[Entry]:
        """What a directory holds, in its order, which is that of bytes.

        Raises DockercError on a name that is none, twice there, or out of order.
        """
        left = directory.size - _LISTING_BIAS
        if left > MAX_DIRECTORY_TABLE:
            raise DamagedError(f"a directory of its squashfs claims {left} bytes of names")
        read, table = self.blocks.read, self.superblock.directory_table
        at, before = directory.listing, b""
        while left > 0:
            data, at = read(table, at, DIRECTORY_HEADER.size)
            left -= len(data)
            count, block, base = DIRECTORY_HEADER.unpack(data)
            if count >= DIRECTORY_RUN:
                raise DamagedError(f"a directory of its squashfs claims a run of {count + 1} names")
            for _ in range(count + 1):
                data, at = read(table, at, DIRECTORY_ENTRY.size)
                offset, difference, kind, length = DIRECTORY_ENTRY.unpack(data)
                name, at = read(table, at, min(length, MAX_NAME) + 1)
                left -= len(data) + len(name)
                if name in (b".", b"..") or b"/" in name or b"\0" in name or length >= MAX_NAME:
                    raise DamagedError(f"a name in its squashfs is not valid: {show(name)}")
                if name <= before or not 1 <= kind <= 7 or left < 0:
                    raise DamagedError(f"a directory of its squashfs is damaged at {show(name)}")
                before = name
                number = base + difference
                yield Entry(name, InodeType(kind), MetadataRef(block, offset), number)

    def walk(
        self, top: Node, damaged: Callable[[bytes, DockercError], None] | None = None
    ) -> Iterator[tuple[bytes, Node]]:
        """Everything below `top`, itself first: directories before what is in them.

        Raises DockercError at what is damaged, unless `damaged` is there to be told: then the walk
        goes on without it. A directory that is entered twice, as in a loop, is always an error.
        """

        def tell(path: bytes, error: DockercError) -> None:
            if damaged is None:
                raise error
            damaged(path, error)

        yield b"", top
        # Of each directory on the way: what is left of its entries, and how their paths begin.
        trail = [(self.entries(top), b"")] if top.is_directory else []
        whole = top.place.reference == self.superblock.root_inode
        longest = MAX_PAYLOAD_PATH if whole else MAX_PATH
        entered, census = {top.place}, Census(self.superblock.inodes)
        count = 0
        while trail:
            entries, prefix = trail[-1]
            try:
                entry = next(entries, None)
            except DockercError as error:
                tell(prefix[:-1], error)
                entry = None
            if entry is None:
                trail.pop()
                continue
            count += 1
            if count > self.max_entries:
                raise RefusedError(f"its squashfs has more than {self.max_entries} names")
            path = prefix + entry.name
            try:
                child = self.child(entry)
                if len(path) > longest:
                    raise RefusedError(f"a path of its squashfs has {len(path)} bytes")
                is_directory = child.kind is InodeType.DIRECTORY
                if not is_directory:
                    census.add(child)
            except DockercError as error:
                tell(path, error)
                continue
            if is_directory:
                if child.place in entered:
                    raise DamagedError(f"its squashfs has a loop at {show(entry.name)}")
                if len(trail) > _MAX_DEPTH:
                    raise RefusedError(f"its squashfs is more than {_MAX_DEPTH} directories deep")
                entered.add(child.place)
            yield path, child
            if is_directory:
                trail.append((self.entries(child), path + b"/"))

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
            raise DamagedError(f"an entry of its squashfs is not what it says: {show(entry.name)}")
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
            entry = self._entry(trail[-1], part)
            if entry is None:
                return None
            node = self.child(entry)
            if node.kind is InodeType.SYMLINK and (parts or follow):
                followed += 1
                if followed > _MAX_LINKS:
                    raise RefusedError(f"{show(path)} runs through a loop of symlinks")
                if node.target.startswith(b"/"):
                    del trail[1:]
                parts += [part for part in reversed(node.target.split(b"/")) if part]
            else:
                trail.append(node)
        return trail[-1]

    def _entry(self, directory: Node, name: bytes) -> Entry | None:
        """The entry of that name; entries are in order, so that those behind it need no look."""
        for entry in self.entries(directory):
            self._looked_at += 1
            if self._looked_at > _MAX_LOOKED_AT:
                raise RefusedError("a path of its squashfs leads through too many names")
            if entry.name >= name:
                return entry if entry.name == name else None
        return None

    def content(self, node: Node) -> Iterator[Chunk]:
        """A file's bytes, a block at a time, holes as such; the chunks add up to its size."""
        size, left, start = self.superblock.block_size, node.size, node.start
        is_new = node.start not in self._starts
        self._starts.add(node.start)
        for word in self.words(node):
            wanted = min(size, left)
            data = None
            if stored_size(word):
                self._stored += is_new and stored_size(word)
                if self._stored > _MAX_OVERLAP * self.superblock.inode_table:
                    raise DamagedError("the blocks of its squashfs overlap")
                data = self.blocks.data(start, word, size)
                if len(data) != wanted:
                    raise DamagedError("a data block of its squashfs is not of its file's size")
            elif word:
                raise DamagedError("a data block of its squashfs is empty")
            start += stored_size(word)
            left -= wanted
            yield Chunk(wanted, data)
        if left:
            data = self.blocks.data(*self.fragment(node.fragment), size)
            piece = data[node.fragment_offset : node.fragment_offset + left]
            if len(piece) != left:
                raise DamagedError("a file of its squashfs runs past the end of its fragment")
            yield Chunk(left, piece)

    def read(self, node: Node, limit: int) -> bytes:
        """A small file's content at once; raises DockercError when it has more than `limit`."""
        if node.size > limit:
            raise RefusedError(f"a file of its payload has {node.size} bytes; at most {limit} fit")
        return b"".join(bytes(c.size) if c.data is None else c.data for c in self.content(node))

    def fragment(self, number: int) -> tuple[int, int]:
        """A fragment's start and size word."""
        if number >= self.superblock.fragments:
            raise DamagedError(f"its squashfs has no fragment {number}")
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
        if count > MAX_ENTRIES:
            raise DamagedError(f"its squashfs claims {count} fragments")
        return self.blocks.lookup_table(self.superblock.fragment_table, count * FRAGMENT_ENTRY.size)
