"""Where the data blocks of a squashfs begin, for who wants to cut it between them."""

from __future__ import annotations

from array import array

from toolkit.errors import RefusedError
from toolkit.squashfs.read.blocks import stored_size
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.structs import FRAGMENT_ENTRY, SUPERBLOCK_SIZE

_MAX_STARTS = 2 << 20
"""Blocks of all files and fragments: a terabyte in blocks of 512 KiB."""


def block_starts(filesystem: Filesystem) -> list[int]:
    """Where blocks and fragments begin, from the start of the image: in order, each once, all of
    them before the tables.

    Raises DockercError on a damaged tree. Blocks of one that lies may overlap: only their starts
    are told.
    """
    starts, end = array("Q"), filesystem.superblock.inode_table
    for start, _, _ in FRAGMENT_ENTRY.iter_unpack(filesystem.fragment_table):
        starts.append(start)
    seen: set[int] = set()
    for _, node in filesystem.walk(filesystem.root):
        if not node.is_file or not node.blocks or node.start in seen:
            continue  # other names, and equal files
        seen.add(node.start)
        at = node.start
        for word in filesystem.words(node):
            if stored_size(word):
                starts.append(at)
                at += stored_size(word)
                if at > end:
                    break
        if len(starts) > _MAX_STARTS:
            raise RefusedError(f"its squashfs has more than {_MAX_STARTS} blocks")
    found: list[int] = []
    for start in sorted(starts):
        if SUPERBLOCK_SIZE <= start < end and start != (found[-1] if found else -1):
            found.append(start)
    return found
