"""Files of an image as the readers of package databases see them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from toolkit.errors import RefusedError
from toolkit.files.printable import show

LARGEST_PIECE = 8 << 20
"""Bytes of one read: what a file claims of itself is not to take more memory."""


@dataclass(frozen=True)
class SourceFile:
    """A regular file; its path has no leading slash."""

    path: bytes
    size: int
    is_program: bool
    """Whether anybody may execute it."""
    layer: int | None
    """The number of the layer that its content is from, where that is known."""
    read_at: Callable[[int, int], bytes]
    """Gives so many bytes at an offset, fewer at the end."""

    @property
    def shown(self) -> str:
        """Its path for a sentence."""
        return f"/{show(self.path)}"

    def read(self, offset: int, size: int) -> bytes:
        """Raises DockercError when that is more than any reader should want."""
        if size > LARGEST_PIECE:
            raise RefusedError(f"{size} bytes of it at once; at most {LARGEST_PIECE} are read")
        return self.read_at(offset, size) if 0 <= offset < self.size and size > 0 else b""

    def whole(self, limit: int) -> bytes:
        """All of it; raises DockercError when it has more than `limit` bytes."""
        if self.size > limit:
            raise RefusedError(f"it has {self.size} bytes; at most {limit} are read")
        return self.read_at(0, self.size) if self.size else b""

    def open(self) -> io.RawIOBase:
        """As a file that can be sought in, but not written."""
        return _Opened(self)


class Files(Protocol):
    """The files of an image."""

    def find(self, path: bytes) -> SourceFile | None:
        """The regular file at a path, symlinks followed inside the image."""


class _Opened(io.RawIOBase):
    def __init__(self, file: SourceFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        if start + offset < 0:
            raise ValueError("before the start of the file")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._file.size - self._at, 0)
        data = self._file.read(self._at, left if size is None or size < 0 else min(size, left))
        self._at += len(data)
        return data
