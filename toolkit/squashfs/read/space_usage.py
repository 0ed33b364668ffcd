"""Where the space of a squashfs goes: its two tables read once from end to end, nothing looked up.

`inspect` promises an answer for 200,000 files in half a second, so the loops below are flat and
know the structures by heart; `Filesystem` is the readable way to the same facts.
"""

from __future__ import annotations

import heapq
import struct
from array import array
from dataclasses import dataclass
from typing import NamedTuple

from toolkit.errors import DamagedError, RefusedError
from toolkit.limits import MAX_BLOCKS, MAX_DEPTH, MAX_DIRECTORY_TABLE, MAX_ENTRIES, MAX_INODE_TABLE
from toolkit.squashfs.read.blocks import little_endian, stored_size
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import block_count
from toolkit.squashfs.structs import (
    DIRECTORY_ENTRY,
    DIRECTORY_HEADER,
    DIRECTORY_INODE,
    EXTENDED_DIRECTORY_INODE,
    EXTENDED_FILE_INODE,
    FILE_INODE,
    FRAGMENT_ENTRY,
    INODE_HEADER,
    NO_FRAGMENT,
    SYMLINK_INODE,
    InodeType,
)

_LARGEST = 10
_LEVELS = 3
"""Directories in one another that are told of, below the image's root."""
_MAX_SHARES = 20_000
"""Directories that are counted by themselves; further ones count to those that they are in."""
_DIRECTORY, _FILE, _SYMLINK = InodeType.DIRECTORY, InodeType.FILE, InodeType.SYMLINK
_PLAIN_SIZE = {4: 8, 5: 8, 6: 4, 7: 4, 11: 12, 12: 12, 13: 8, 14: 8}
"""Bytes of device and IPC inodes after their header, basic and extended."""


@dataclass
class Share:
    """What a directory holds, or a file is: `size` as programs see it, `stored` compressed."""

    path: bytes
    files: int
    size: int
    stored: int


@dataclass(frozen=True)
class Space:
    """The whole, its top directories, and its largest files; largest first.

    A file with several names counts once, where it is met first. `stored` of a file in a fragment
    is its part of all fragments; files that share their data count in full, each.
    """

    total: Share
    holes: int
    """Bytes of `total.size` that are not stored at all."""
    directories: list[Share]
    largest: list[Share]
    tree: list[Share]
    """The directories of three levels, each behind the one that it is in, which counts it, too."""


class _Trail(NamedTuple):
    """A directory by its name and the one that it is in: full paths would repeat one another."""

    above: _Trail | None
    name: bytes
    depth: int


@dataclass
class _Tables:
    """What the inode table says: by inode number, and of directories by place."""

    sizes: array[int]
    stored: array[int]
    tails: array[int]
    directories: dict[int, tuple[int, int, int]]
    """Position in the table to listing's block, offset, and bytes."""
    holes: int


def space_of(filesystem: Filesystem) -> Space:
    """Raises DockercError when the tables are damaged, or hold more than four million files."""
    try:
        return _space_of(filesystem)
    except struct.error:  # of `unpack_from`; to compare each position would take longer
        raise DamagedError("an inode or a directory of its squashfs runs past its table") from None


def _space_of(filesystem: Filesystem) -> Space:
    superblock = filesystem.superblock
    if superblock.inodes > min(MAX_ENTRIES, superblock.bytes_used):
        raise DamagedError(f"its squashfs claims {superblock.inodes} files")
    table, places = filesystem.blocks.metadata_table(
        superblock.inode_table, superblock.directory_table, MAX_INODE_TABLE
    )
    tables = _read_inodes(filesystem, table)
    del table
    _add_tails(filesystem, tables)
    listings = filesystem.blocks.metadata_table(
        superblock.directory_table, filesystem.blocks.directory_end(), MAX_DIRECTORY_TABLE
    )
    return _add_up(filesystem, tables, places, listings)


def _read_inodes(filesystem: Filesystem, table: bytearray) -> _Tables:
    count = filesystem.superblock.inodes
    block_size = filesystem.superblock.block_size
    sizes, stored, tails = (array("Q", bytes(8 * (count + 1))) for _ in range(3))
    directories: dict[int, tuple[int, int, int]] = {}
    holes = blocks = 0
    header_size = INODE_HEADER.size
    read_header, read_file = INODE_HEADER.unpack_from, FILE_INODE.unpack_from
    position, end = 0, len(table)
    # What is read past the table's end is a struct.error, which `space_of` puts into words.
    while position < end:
        kind, _, _, _, _, number = read_header(table, position)
        if not 0 < number <= count:
            raise DamagedError(f"its squashfs has an inode numbered {number} of {count}")
        at = position + header_size
        if kind == _FILE or kind == _FILE.extended:
            if kind == _FILE:
                _, fragment, _, size = read_file(table, at)
                at += FILE_INODE.size
            else:
                _, size, _, _, fragment, _, _ = EXTENDED_FILE_INODE.unpack_from(table, at)
                at += EXTENDED_FILE_INODE.size
            sizes[number] = size
            if fragment != NO_FRAGMENT:
                tails[number] = size % block_size
            if size >= block_size or fragment == NO_FRAGMENT:
                words = block_count(size, block_size, fragment)
                after = at + 4 * words
                blocks += words
                if after > end:
                    raise DamagedError("a file of its squashfs has more blocks than there are")
                if blocks > MAX_BLOCKS:
                    raise RefusedError(f"the files of its squashfs claim over {MAX_BLOCKS} blocks")
                listed = little_endian("I", table[at:after])
                stored[number] = sum(map(stored_size, listed))
                # Never more than the file, whose last block may be shorter.
                holes += min(listed.count(0) * block_size, size)
                at = after
        elif kind == _DIRECTORY:
            block, _, size, offset, _ = DIRECTORY_INODE.unpack_from(table, at)
            directories[position] = block, offset, size
            at += DIRECTORY_INODE.size
        elif kind == _DIRECTORY.extended:
            fields = EXTENDED_DIRECTORY_INODE.unpack_from(table, at)
            _, size, block, _, indexes, offset, _ = fields
            directories[position] = block, offset, size
            at += EXTENDED_DIRECTORY_INODE.size
            for _ in range(indexes):
                at += 13 + int.from_bytes(table[at + 8 : at + 12], "little")
        elif kind == _SYMLINK or kind == _SYMLINK.extended:
            _, size = SYMLINK_INODE.unpack_from(table, at)
            at += SYMLINK_INODE.size + size + 4 * (kind == _SYMLINK.extended)
        elif kind in _PLAIN_SIZE:
            at += _PLAIN_SIZE[kind]
        else:
            raise DamagedError(f"an inode of its squashfs is of the unknown type {kind}")
        position = at
    return _Tables(sizes, stored, tails, directories, holes)


def _add_tails(filesystem: Filesystem, tables: _Tables) -> None:
    """Give each file in a fragment its part of what all fragments take."""
    table = filesystem.fragment_table
    taken = sum(stored_size(word) for _, word, _ in FRAGMENT_ENTRY.iter_unpack(table))
    held = sum(tables.tails)
    for number, tail in enumerate(tables.tails):
        if tail:
            tables.stored[number] += tail * taken // held


def _add_up(
    filesystem: Filesystem,
    tables: _Tables,
    inode_places: dict[int, int],
    listings: tuple[bytearray, dict[int, int]],
) -> Space:
    sizes, stored, directories = tables.sizes, tables.stored, tables.directories
    listing, listing_places = listings
    largest = set(heapq.nlargest(_LARGEST, range(len(sizes)), key=sizes.__getitem__))
    found: list[Share] = []
    tops: list[Share] = [Share(b"/", 0, 0, 0)]
    above = [0]
    """Of each share that of the directory that it is in; those at the top are in the first."""
    root = filesystem.superblock.root_inode
    # Directories to look into: where the inode is, its trail, and the share that it counts to.
    waiting: list[tuple[int, int, _Trail | None, int]] = [(root >> 16, root & 0xFFFF, None, 0)]
    counted = bytearray(len(sizes))
    read_entry = DIRECTORY_ENTRY.unpack_from
    names = 0
    while waiting:
        block, offset, trail, top = waiting.pop()
        # Taken out, so that a directory is entered once and a loop ends.
        place = directories.pop(inode_places.get(block, -1 << 20) + offset, None)
        if place is None:
            raise DamagedError("its squashfs has a loop, or an invalid directory")
        first = listing_places.get(place[0], -1 << 20) + place[1]
        at, end = first, first + place[2] - 3
        if first < 0 or end > len(listing):
            raise DamagedError("a directory of its squashfs lies outside of its table")
        depth = trail.depth + 1 if trail else 1
        if depth > MAX_DEPTH + 2:
            raise RefusedError(f"its squashfs is more than {MAX_DEPTH} directories deep")
        share = tops[top]
        while at < end:
            run, block, base = DIRECTORY_HEADER.unpack_from(listing, at)
            at += DIRECTORY_HEADER.size
            names += run + 1
            if names > filesystem.max_entries:
                raise RefusedError(f"its squashfs has more than {filesystem.max_entries} names")
            for _ in range(run + 1):
                offset, difference, kind, length = read_entry(listing, at)
                at += 9 + length
                number = base + difference
                if kind == _DIRECTORY:
                    below = _Trail(trail, bytes(listing[at - length - 1 : at]), depth)
                    if trail is None and below.name == b"rootfs":
                        waiting.append((block, offset, below, top))
                    elif depth <= _LEVELS + 1 and len(tops) < _MAX_SHARES:
                        tops.append(Share(_path(below), 0, 0, 0))
                        above.append(top)
                        waiting.append((block, offset, below, len(tops) - 1))
                    else:
                        waiting.append((block, offset, below, top))
                elif not 0 < number < len(sizes):
                    raise DamagedError(f"its squashfs names an inode {number} that it lacks")
                elif not counted[number]:
                    counted[number] = 1
                    share.files += 1
                    share.size += sizes[number]
                    share.stored += stored[number]
                    if number in largest and kind == _FILE:
                        file = _Trail(trail, bytes(listing[at - length - 1 : at]), depth)
                        found.append(Share(_path(file), 1, sizes[number], stored[number]))
    total = Share(
        b"", sum(t.files for t in tops), sum(t.size for t in tops), sum(t.stored for t in tops)
    )
    shares, tree = _rolled_up(tops, above)
    return Space(total, tables.holes, _by_size(shares), _by_size(found), tree)


def _rolled_up(tops: list[Share], above: list[int]) -> tuple[list[Share], list[Share]]:
    """The directories at the top with all that is below them, and the whole tree, largest first;
    `above` is one before the other in `tops`."""
    inner: list[list[int]] = [[] for _ in tops]
    for number in reversed(range(1, len(tops))):
        share, outer = tops[number], above[number]
        inner[outer].append(number)
        if outer:
            tops[outer].files += share.files
            tops[outer].size += share.size
            tops[outer].stored += share.stored
    for level in inner:
        level.sort(key=lambda number: (tops[number].stored, tops[number].size, -number))
    tree, waiting = [], inner[0]
    while waiting:
        number = waiting.pop()
        tree.append(tops[number])
        waiting += inner[number]
    return [tops[0], *(tops[number] for number in range(1, len(tops)) if not above[number])], tree


def _path(trail: _Trail) -> bytes:
    names: list[bytes] = []
    at: _Trail | None = trail
    while at is not None:
        names.append(at.name)
        at = at.above
    return b"/" + b"/".join(reversed(names))


def _by_size(shares: list[Share]) -> list[Share]:
    return sorted(shares, key=lambda share: (-share.size, share.path))
