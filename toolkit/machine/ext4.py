"""An empty file system on a disk of its own, for what a program in a machine writes and keeps.

It is ext4 (the kernel's Documentation/filesystems/ext4/) with a journal and without what needs
checksums, so that next to nothing is to be written: a file with holes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit.errors import DockercError, UnsupportedError
from toolkit.files.atomic import atomic_file

SIZE = 64 << 30
"""Bytes of a new disk, of which the file takes only what was written."""
_BLOCK = 4096
_GROUP = 32768
"""Blocks of a group: as many as one block has bits."""
_GROUPS = SIZE // _BLOCK // _GROUP
_INODES = 8192
"""Of a group: one for 16 KiB."""
_INODE = 256
_TABLE = _INODES * _INODE // _BLOCK
_DESCRIPTORS = -(-_GROUPS * 32 // _BLOCK)
_JOURNAL = 8192
"""Blocks: 32 MiB."""
_MAGIC = b"\x53\xef"
_USED_INODES = 11
_ROOT, _JOURNAL_INODE, _LOST = 2, 8, 11
_DIRECTORY, _FILE = 0o40755, 0o100600


def overlay_disk(path: Path) -> None:
    """Make it unless it is there; raises DockercError for a file that is none."""
    try:
        if not path.exists():
            _make(path)
            return
        with path.open("rb") as file:
            file.seek(1024 + 56)
            magic = file.read(2)
    except OSError as error:
        raise DockercError(f"--overlay {path}: {error.strerror}") from None
    if magic != _MAGIC:
        raise UnsupportedError(
            f"--overlay {path}: in a machine this is a disk that dockerc makes, and the file is"
            " something else; name one that does not exist yet"
        )


def _make(path: Path) -> None:
    with atomic_file(path, 0o600) as file:
        file.truncate(SIZE)
        for offset, data in _parts(os.urandom(16), os.urandom(16)):
            file.seek(offset)
            file.write(data)


def _parts(uuid: bytes, seed: bytes) -> Iterator[tuple[int, bytes]]:
    """What is not zero: offsets and bytes."""
    used = [_first_table(group) + _TABLE - group * _GROUP for group in range(_GROUPS)]
    data = used[0]  # the first block behind the tables
    used[0] += 2 + _JOURNAL
    descriptors = b"".join(
        struct.pack(
            "<IIIHHH14x",
            _first_table(group) - 2,
            _first_table(group) - 1,
            _first_table(group),
            _GROUP - used[group],
            _INODES - (0 if group else _USED_INODES),
            0 if group else 2,
        )
        for group in range(_GROUPS)
    )
    free = sum(_GROUP - each for each in used)
    for group in range(_GROUPS):
        start = group * _GROUP * _BLOCK
        if _has_copy(group):
            yield start + (0 if group else 1024), _superblock(group, free, uuid, seed)
            yield start + _BLOCK, descriptors
        yield (_first_table(group) - 2) * _BLOCK, _bits(used[group], _GROUP)
        yield (_first_table(group) - 1) * _BLOCK, _bits(0 if group else _USED_INODES, _INODES)
    yield from _inodes(data)
    yield data * _BLOCK, _directory(_ROOT, _ROOT, (_LOST, b"lost+found"))
    yield (data + 1) * _BLOCK, _directory(_LOST, _ROOT)
    yield (
        (data + 2) * _BLOCK,
        struct.pack(">12I16sI", 0xC03B3998, 4, 0, _BLOCK, _JOURNAL, 1, 1, 0, 0, 0, 0, 0, uuid, 1),
    )


def _has_copy(group: int) -> bool:
    """Of the superblock: the first two groups, and powers of 3, 5 and 7."""
    if group < 2:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False


def _first_table(group: int) -> int:
    """The first block of a group's inode table; its bitmaps are before it."""
    return group * _GROUP + (1 + _DESCRIPTORS if _has_copy(group) else 0) + 2


def _bits(used: int, count: int) -> bytes:
    """A block of them; those beyond `count` are set."""
    return ((1 << used) - 1 | (1 << _BLOCK * 8) - (1 << count)).to_bytes(_BLOCK, "little")


def _superblock(group: int, free: int, uuid: bytes, seed: bytes) -> bytes:
    block = bytearray(1024)
    fields: dict[int, tuple[Any, ...]] = {
        0: ("I", _GROUPS * _INODES),
        4: ("I", _GROUPS * _GROUP),
        12: ("I", free),
        16: ("I", _GROUPS * _INODES - _USED_INODES),
        24: ("II", 2, 2),  # blocks and clusters of 1024 << 2
        32: ("III", _GROUP, _GROUP, _INODES),
        54: ("H2sHH", 0xFFFF, _MAGIC, 1, 1),  # never checked by count; clean; go on after errors
        76: ("I", 1),
        84: ("IHH", _USED_INODES, _INODE, group),
        # has_journal, ext_attr; filetype, extents; sparse_super, large_file, extra_isize
        92: ("III16s", 0x4 | 0x8, 0x2 | 0x40, 0x1 | 0x2 | 0x40, uuid),
        224: ("I", _JOURNAL_INODE),
        236: ("16sB", seed, 1),
        348: ("HHI", 32, 32, 2),
    }
    for offset, (form, *values) in fields.items():
        struct.pack_into("<" + form, block, offset, *values)
    return bytes(block)


def _inodes(data: int) -> Iterator[tuple[int, bytes]]:
    for number, mode, links, first, blocks in (
        (_ROOT, _DIRECTORY, 3, data, 1),
        (_LOST, _DIRECTORY & ~0o055, 2, data + 1, 1),
        (_JOURNAL_INODE, _FILE, 1, data + 2, _JOURNAL),
    ):
        inode = bytearray(_INODE)
        struct.pack_into("<HHI", inode, 0, mode, 0, blocks * _BLOCK)
        extents = 0x80000
        struct.pack_into("<HII", inode, 26, links, blocks * _BLOCK // 512, extents)
        # One extent of all blocks.
        struct.pack_into("<HHHHIIHHI", inode, 40, 0xF30A, 1, 4, 0, 0, 0, blocks, 0, first)
        struct.pack_into("<H", inode, 128, 32)
        yield _first_table(0) * _BLOCK + (number - 1) * _INODE, bytes(inode)


def _directory(own: int, parent: int, *entries: tuple[int, bytes]) -> bytes:
    block = b""
    every = ((own, b"."), (parent, b".."), *entries)
    for number, name in every:
        length = 8 + -(-len(name) // 4) * 4
        if (number, name) == every[-1]:
            length = _BLOCK - len(block)
        block += struct.pack("<IHBB", number, length, len(name), 2) + name.ljust(length - 8, b"\0")
    return block
