"""Reading one file of a payload by its path, with PySquashfsImage.

The library scans the whole tree when it opens an image and believes every size. Here it opens one
directory at a time, its blocks come from `Blocks`, which bounds them, and what one look-up may
read of the tables is limited. Whoever reads many files takes `Filesystem`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from PySquashfsImage import SquashFsImage

from toolkit.errors import DockercError
from toolkit.squashfs.read.blocks import Blocks
from toolkit.squashfs.structs import METADATA_SIZE, Superblock

_BUDGET = 4 << 20
"""Bytes of inodes and names that one look-up may read: those of some 100,000 names."""


class _OnDemand(SquashFsImage):  # type: ignore[misc]
    """The library's image without the scan."""

    def __init__(self, file: BinaryIO, offset: int, superblock: Superblock) -> None:
        self.blocks = Blocks(file, offset, superblock)
        self.budget = _BUDGET
        super().__init__(file, offset, closefd=False)

    def _initialize(self) -> None:
        self._fd.seek(self._offset)
        self._read_super()
        self._read_uids_guids()

    def _read_fragment(self, fragment: int) -> tuple[int, int]:
        """One entry: the library would keep the whole table, whatever its size."""
        return self.blocks.fragment(fragment)

    def _get_compressor(self, compression_id: int) -> None:
        """The blocks have their own."""

    def _read_block(self, start: int, expected: int = METADATA_SIZE) -> tuple[bytes, int]:
        # The library expects nothing of a last block that is full.
        return self.blocks.metadata(start)

    def _read_data_block(self, start: int, size: int) -> bytes:
        return self.blocks.data(start, size, self._sblk.block_size)

    def _read_metadata(self, known: Any, block: int, offset: int, length: int) -> Any:
        self.budget -= length
        if self.budget < 0:
            raise DockercError("its squashfs has larger tables than a look-up should read")
        return super()._read_metadata(known, block, offset, length)


class SquashfsReader:
    """Files of a payload by path; symlinks are not followed."""

    def __init__(self, file: BinaryIO, offset: int, superblock: Superblock) -> None:
        self._image: Any = _OnDemand(file, offset, superblock)
        self._root = superblock.root_inode

    def read(self, path: str, limit: int) -> bytes:
        """A regular file's content; raises DockercError when there is none or it is too large."""
        inode = self._find(path)
        if inode is None or not inode.is_file:
            raise DockercError(f"its payload has no file {path}")
        if inode.data > limit:
            raise DockercError(f"{path} in its payload has {inode.data} bytes; expected {limit}")
        return cast(bytes, self._image.read_file(inode))

    def _find(self, path: str) -> Any:
        self._image.budget = _BUDGET
        block, offset = self._root >> 16, self._root & 0xFFFF
        for part in path.encode().split(b"/"):
            inode = self._image._read_inode(block, offset)
            if not inode.is_dir:
                return None
            for entry in self._image._opendir(block, offset).entries:
                if entry["name"] == part:
                    block, offset = entry["start_block"], entry["offset"]
                    break
            else:
                return None
        return self._image._read_inode(block, offset)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever a damaged payload makes the library raise into one sentence about `name`."""
    try:
        yield
    except DockercError as error:
        raise DockercError(f"{name}: {error}") from None
    except OSError as error:
        if error.errno is not None:  # the system's word, of the file or of where its parts go
            raise
        raise DockercError(f"{name}: its payload is damaged: {error}") from None
    except Exception as error:  # the library raises of every kind on damaged input
        raise DockercError(f"{name}: its payload is damaged: {error}") from None
