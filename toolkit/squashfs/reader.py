"""Looking into a payload: PySquashfsImage, kept from reading more than is asked for.

The library scans the whole tree when it opens an image and believes every size. Here it opens one
directory at a time, and what it may read is bounded. It also reads what our writer never writes:
the old tool's payloads in any compression.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from PySquashfsImage import SquashFsImage

from toolkit.errors import DockercError
from toolkit.squashfs.structs import COMPRESSION_NAMES, Superblock

_MAX_DIRECTORY = 64 << 20
_XZ_MEMORY = 64 << 20


class _OnDemand(SquashFsImage):  # type: ignore[misc]
    """The library's image without the scan."""

    def _initialize(self) -> None:
        self._fd.seek(self._offset)
        self._read_super()
        self._read_uids_guids()
        self._read_fragment_table()

    def _get_compressor(self, compression_id: int) -> _Bounded:
        return _Bounded(COMPRESSION_NAMES.get(compression_id, str(compression_id)))


class _Bounded:
    """Decompressors that give at most `limit` bytes, whatever the data claims."""

    def __init__(self, name: str) -> None:
        if name not in ("gzip", "xz", "zstd"):
            raise DockercError(f"its squashfs is compressed by {name}, which is not supported")
        self._name = name

    def uncompress(self, data: bytes, _: int, limit: int) -> bytes:
        if self._name == "gzip":
            import zlib

            return zlib.decompressobj().decompress(data, limit)
        if self._name == "xz":
            import lzma

            return lzma.LZMADecompressor(memlimit=_XZ_MEMORY).decompress(data, limit)
        import zstandard

        if zstandard.frame_content_size(data) > limit:
            raise DockercError("a block of its squashfs is larger than a block can be")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=limit)


class SquashfsReader:
    """Files of a payload by path; symlinks are not followed."""

    def __init__(self, file: BinaryIO, offset: int, superblock: Superblock) -> None:
        if superblock.fragments * 16 > superblock.bytes_used * 64:
            raise DockercError(f"its squashfs claims {superblock.fragments} fragments")
        self._image: Any = _OnDemand(file, offset, closefd=False)
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
        block, offset = self._root >> 16, self._root & 0xFFFF
        for part in path.encode().split(b"/"):
            inode = self._image._read_inode(block, offset)
            if not inode.is_dir or inode.data > _MAX_DIRECTORY:
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
    except Exception as error:  # the library raises of every kind on damaged input
        raise DockercError(f"{name}: its payload is damaged: {error}") from None
