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

from toolkit.errors import AbsentError, DamagedError, DockercError, RefusedError, about
from toolkit.squashfs.read.blocks import Blocks
from toolkit.squashfs.structs import METADATA_SIZE, Superblock

_BUDGET = 4 << 20
"""Bytes of inodes and names that one look-up may read: those of some 100,000 names."""


class _OnDemand(SquashFsImage):  # type: ignore[misc]
    """The library's image without the scan."""

    def __init__(
        self, file: BinaryIO, offset: int, superblock: Superblock, own_errors: list[Exception]
    ) -> None:
        self.blocks = Blocks(file, offset, superblock)
        self.budget = _BUDGET
        self._own_errors = own_errors
        super().__init__(file, offset, closefd=False)

    def _initialize(self) -> None:
        self._fd.seek(self._offset)
        self._read_super()
        self._read_uids_guids()

    def _read_fragment(self, fragment: int) -> tuple[int, int]:
        """One entry: the library would keep the whole table, whatever its size."""
        with self._ours():
            return self.blocks.fragment(fragment)

    def _get_compressor(self, compression_id: int) -> None:
        """The blocks have their own."""

    def _read_block(self, start: int, expected: int = METADATA_SIZE) -> tuple[bytes, int]:
        # The library expects nothing of a last block that is full.
        with self._ours():
            return self.blocks.metadata(start)

    def _read_data_block(self, start: int, size: int) -> bytes:
        with self._ours():
            return self.blocks.data(start, size, self._sblk.block_size)

    def _read_metadata(self, known: Any, block: int, offset: int, length: int) -> Any:
        with self._ours():
            self.budget -= length
            if self.budget < 0:
                raise RefusedError("its squashfs has larger tables than a look-up should read")
        return super()._read_metadata(known, block, offset, length)

    @contextmanager
    def _ours(self) -> Iterator[None]:
        """Our own code, which the library calls: its errors are not the library's."""
        try:
            yield
        except Exception as error:
            self._own_errors.append(error)
            raise


class SquashfsReader:
    """Files of a payload by path; symlinks are not followed."""

    def __init__(self, file: BinaryIO, offset: int, superblock: Superblock) -> None:
        self._own_errors: list[Exception] = []
        with self._library():
            self._image: Any = _OnDemand(file, offset, superblock, self._own_errors)
        self._root = superblock.root_inode

    def read(self, path: str, limit: int) -> bytes:
        """A regular file's content; raises DockercError when there is none or it is too large."""
        inode = self._find(path)
        if inode is None or not inode.is_file:
            raise AbsentError(f"its payload has no file {path}")
        if inode.data > limit:
            raise RefusedError(f"{path} in its payload has {inode.data} bytes; expected {limit}")
        with self._library():
            return cast(bytes, self._image.read_file(inode))

    @contextmanager
    def _library(self) -> Iterator[None]:
        """PySquashfsImage at work: it raises errors of every kind on damaged input. What it is
        called by and what it calls is ours, and a defect there must not pass for damage."""
        try:
            yield
        except (DockercError, OSError):
            raise
        except Exception as error:
            if error in self._own_errors:
                raise
            raise DamagedError(f"its payload is damaged: {error}") from None

    def _find(self, path: str) -> Any:
        self._image.budget = _BUDGET
        block, offset = self._root >> 16, self._root & 0xFFFF
        for part in path.encode().split(b"/"):
            if not self._inode(block, offset).is_dir:
                return None
            with self._library():
                entries = self._image._opendir(block, offset).entries
            for entry in entries:
                if entry["name"] == part:
                    block, offset = entry["start_block"], entry["offset"]
                    break
            else:
                return None
        return self._inode(block, offset)

    def _inode(self, block: int, offset: int) -> Any:
        with self._library():
            return self._image._read_inode(block, offset)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Say of every error of a payload, or of its file, that it is about `name`."""
    try:
        with about(name):
            yield
    except OSError as error:
        if error.errno is not None:  # the system's word, of the file or of where its parts go
            raise
        raise DamagedError(f"{name}: its payload is damaged: {error}") from None
