"""Where file data is in the filesystem: what the tables are written from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO, NamedTuple, Protocol

from toolkit.squashfs.tree import Content, Inode


class Placement(NamedTuple):
    """A file's content as its inode tells it."""

    start: int
    sizes: bytes
    """The blocks' size words, as stored."""
    holes: int
    """Bytes of blocks that are not stored."""
    fragment: int
    fragment_offset: int


class PlacedData(Protocol):
    """What the tables need to know of file data that is in its place."""

    @property
    def fragment_count(self) -> int: ...
    @property
    def fragment_table(self) -> bytes: ...

    def place(self, content: Content) -> Placement: ...


class FileData(PlacedData, Protocol):
    """File data that is still to be copied to its place."""

    def want(self, inodes: Iterable[Inode]) -> None:
        """Mark what these files need."""

    def copy(self, output: BinaryIO, position: int) -> int:
        """Copy what was wanted to `output`, where `position` is; returns the new position."""
