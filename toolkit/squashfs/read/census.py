"""Which inodes a walk has met: files that lie about their number, names or blocks are found out."""

from __future__ import annotations

from toolkit.errors import DamagedError, RefusedError
from toolkit.limits import MAX_BLOCKS, MAX_ENTRIES
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.structs import MetadataRef


class Census:
    """Of a squashfs that claims so many inodes.

    Work is done once for a file, under however many names it is met: that holds only if it has as
    many names as it says, and if nobody else has its number. A byte an inode, since most files
    have one name.
    """

    def __init__(self, inodes: int) -> None:
        if inodes > MAX_ENTRIES:
            raise DamagedError(f"its squashfs claims {inodes} files")
        self._seen = bytearray(inodes + 1)
        self._linked: dict[int, MetadataRef] = {}
        self._blocks = 0

    def add(self, node: Node) -> None:
        """A file of any type but a directory, met under another name; raises DockercError."""
        number = node.number
        if not 0 < number < len(self._seen):
            raise DamagedError(f"its number is {number} of {len(self._seen) - 1}")
        if self._seen[number]:
            if self._linked.get(number, node.place) != node.place:
                raise DamagedError(f"it shares its number {number} with another file")
            if node.nlink == 1:
                raise DamagedError(f"inode {number} claims 1 name, and has more")
            return
        self._seen[number] = 1
        if node.nlink > 1:
            self._linked[number] = node.place
        self._blocks += node.blocks
        if self._blocks > MAX_BLOCKS:
            raise RefusedError(f"the files of its squashfs claim more than {MAX_BLOCKS} blocks")
