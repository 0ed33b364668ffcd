"""The start list: a profile as the runtime reads it, a file beside config.json (docs/format.md).

It names inodes by their numbers in this very squashfs, and only what there is: the runtime works
through it from its start, without a look at what is not needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from toolkit.bundle.profile import PAGE, Line, Profile, Use
from toolkit.errors import DamagedError
from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.tree import Inode

NAME = b"start-list"
"""In the root of the payload; the app's root is a directory beside it."""
MAX_START_LIST = 4 << 20
"""Bytes of one; the runtime takes no more (fuse/prefetch/start_entries.zig)."""
MAX_PAGES = 1 << 16
"""Pages of one section: 256 MiB."""
_MAGIC = b"dcstart1"
_SECTION = struct.Struct("<III")
"""Number of the program's inode, entries, bytes of them."""
_ENTRY = struct.Struct("<HHHHI")
"""Use, bytes of the path, ranges, zero, number of the inode; the path and the ranges follow."""
_RANGE = struct.Struct("<II")
"""First page, pages."""
_GAP = 4
"""Pages between two ranges of a line that are read with them: a request costs more."""


@dataclass
class Section:
    """The uses of one program, each once, in the order of the recordings."""

    program: Inode
    uses: list[tuple[Line, Inode | None]] = field(default_factory=list)


@dataclass
class Resolved:
    """A profile for a tree."""

    sections: list[Section]
    hot: dict[Inode, list[int]]
    """The files that are read, and which of their blocks, in the order of first use."""
    missing: int
    """Paths that the tree has not, or has although they were looked up in vain."""


def resolve(profile: Profile, root: Inode, block_size: int) -> Resolved:
    """Find the profile's paths in the image's tree, of a squashfs with such blocks."""
    sections: dict[Inode, _Merged] = {}
    missing: set[bytes] = set()
    hot: dict[Inode, list[int]] = {}
    for recording in profile.recordings:
        program = _find(root, recording.program)
        if program is None or program.kind is not InodeType.FILE:
            missing.add(recording.program)
            continue
        merged = sections.setdefault(program, _Merged(Section(program), block_size))
        for line in recording.lines:
            inode = _find(root, line.path)
            if (inode is None) is not (line.use is Use.NONE) or not _fits(line, inode):
                missing.add(line.path)
                continue
            if merged.add(line, inode) and line.use is Use.READ and inode is not None:
                hot.setdefault(inode, [])
    for merged in sections.values():
        for inode, block in merged.blocks:
            hot[inode].append(block)
    return Resolved([each.section for each in sections.values()], hot, len(missing))


def _fits(line: Line, inode: Inode | None) -> bool:
    if line.use is Use.LIST:
        return inode is not None and inode.children is not None
    if line.use is Use.READ:
        return inode is not None and inode.kind is InodeType.FILE
    return True


def _find(root: Inode, path: bytes) -> Inode | None:
    """What has this very path: no symlink is followed."""
    inode: Inode | None = root
    for name in path.split(b"/") if path else ():
        if inode is None or inode.children is None:
            return None
        inode = inode.children.get(name)
    return inode


class _Merged:
    """A section while uses are added to it."""

    def __init__(self, section: Section, block_size: int) -> None:
        self.section = section
        self._block_pages = block_size // PAGE
        self.blocks: dict[tuple[Inode, int], int] = {}
        """The entry of each block that is read."""
        self._seen: set[tuple[Use, bytes]] = set()
        self._pages: dict[Inode, set[int]] = {}
        self._left = MAX_PAGES

    def add(self, line: Line, inode: Inode | None) -> bool:
        """False where nothing of it is new."""
        if line.use is not Use.READ or inode is None:
            if (line.use, line.path) in self._seen:
                return False
            self._seen.add((line.use, line.path))
        else:
            # A hard link may be read by either name.
            ranges = self._new(line, inode)
            if not ranges:
                return False
            line = Line(line.use, line.path, ranges)
            self._add_ranges(line, inode)
            return True
        self.section.uses.append((line, inode))
        return True

    def _add_ranges(self, line: Line, inode: Inode) -> None:
        """One entry for each block, where it is first read: a block is decoded once."""
        for first, count in line.ranges:
            while count:
                block = first // self._block_pages
                part = min(count, (block + 1) * self._block_pages - first)
                entry = self.blocks.get((inode, block))
                if entry is None:
                    entry = self.blocks[inode, block] = len(self.section.uses)
                    self.section.uses.append((Line(line.use, line.path), inode))
                there = self.section.uses[entry][0].ranges
                ranges = _joined([*there, (first, part)])
                self.section.uses[entry] = Line(line.use, line.path, ranges), inode
                first += part
                count -= part

    def _new(self, line: Line, inode: Inode) -> tuple[tuple[int, int], ...]:
        end = -(-inode.content.size // PAGE)
        known = self._pages.setdefault(inode, set())
        fresh: list[list[int]] = []
        for first, count in sorted(line.ranges):
            if fresh and first - sum(fresh[-1]) <= _GAP:
                first, count = sum(fresh[-1]), first + count - sum(fresh[-1])
            for page in range(first, min(first + count, end)):
                if page in known or self._left == 0:
                    continue
                known.add(page)
                self._left -= 1
                if fresh and sum(fresh[-1]) == page:
                    fresh[-1][1] += 1
                else:
                    fresh.append([page, 1])
        return tuple((first, count) for first, count in fresh)


def _joined(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for first, count in sorted(ranges):
        if joined and sum(joined[-1]) == first:
            joined[-1] = joined[-1][0], joined[-1][1] + count
        else:
            joined.append((first, count))
    return tuple(joined)


@dataclass(frozen=True)
class Entry:
    """One use; `number` is the inode's, 0 where there is none."""

    use: Use
    number: int
    path: bytes
    ranges: tuple[tuple[int, int], ...]


def encode(resolved: Resolved, numbers: Mapping[Inode, int]) -> bytes:
    """The list, for a squashfs that gives the tree's inodes these numbers.

    What no longer fits into MAX_START_LIST is left out.
    """
    out = bytearray(_MAGIC)
    for section in resolved.sections:
        entries, left = [], MAX_START_LIST - len(out) - _SECTION.size
        for line, inode in section.uses:
            path = b"" if line.use is Use.READ else line.path
            left -= _ENTRY.size + len(path) + _RANGE.size * len(line.ranges)
            if left < 0:
                break
            number = 0 if inode is None else numbers[inode]
            entries.append(Entry(line.use, number, path, line.ranges))
        if entries:
            out += _section(numbers[section.program], entries)
    return bytes(out)


def _section(program: int, entries: Sequence[Entry]) -> bytes:
    out = bytearray()
    for entry in entries:
        out += _ENTRY.pack(entry.use, len(entry.path), len(entry.ranges), 0, entry.number)
        out += entry.path
        for first, count in entry.ranges:
            out += _RANGE.pack(first, count)
    return _SECTION.pack(program, len(entries), len(out)) + out


def decode(data: bytes) -> list[tuple[int, list[Entry]]]:
    """The sections: the program's number, and the entries; raises DamagedError."""
    if not data.startswith(_MAGIC):
        raise DamagedError("its start list begins with another word")
    sections = []
    at = len(_MAGIC)
    try:
        while at < len(data):
            program, count, size = _SECTION.unpack_from(data, at)
            at += _SECTION.size
            if size > len(data) - at:
                raise DamagedError("its start list is cut short")
            sections.append((program, list(_entries(data[at : at + size], count))))
            at += size
    except (struct.error, ValueError) as error:
        raise DamagedError(f"its start list is malformed: {error}") from None
    return sections


def _entries(data: bytes, count: int) -> Iterator[Entry]:
    at = 0
    while at < len(data):
        use, length, ranges, _, number = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        path = data[at : at + length]
        if len(path) != length:
            raise DamagedError("its start list is cut short")
        at += length
        found = tuple(_RANGE.unpack_from(data, at + _RANGE.size * i) for i in range(ranges))
        at += _RANGE.size * ranges
        count -= 1
        yield Entry(Use(use), number, path, found)
    if count:
        raise DamagedError("its start list has another number of entries than it claims")


def renumbered(data: bytes, before: Mapping[int, Inode], after: Mapping[Inode, int]) -> bytes:
    """The list for the same tree after a change, with the numbers that its inodes have then.

    Entries of inodes that are no more in the tree are left out.
    """
    out = bytearray(_MAGIC)
    for program, entries in decode(data):
        number = after.get(before[program]) if program in before else None
        if number is None:
            continue
        kept = []
        for entry in entries:
            now = after.get(before[entry.number]) if entry.number in before else None
            if now is not None or entry.use is Use.NONE:
                kept.append(replace(entry, number=now or 0))
        out += _section(number, kept)
    return bytes(out)
