"""Streams that check themselves against the digest and size that a descriptor promised."""

from __future__ import annotations

import hashlib
import io
import zlib
from typing import TYPE_CHECKING, BinaryIO

from toolkit.errors import DamagedError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BUFFER_SIZE = 256 << 10

ByteSource = io.RawIOBase | io.BufferedIOBase


class VerifiedReader(io.RawIOBase):
    """Passes `source` on and closes it.

    The read that yields the last promised byte raises DockercError instead when the digest
    differs, the source goes on, or (`size` known or not) it ended early. So a reader that stops at
    the promised size is as safe as one that reads on to the end.
    """

    def __init__(self, source: ByteSource, digest: str, size: int | None, where: str) -> None:
        self._source = source
        self._digest = digest
        self._size = size
        self._where = where
        self._hash = hashlib.new(digest.partition(":")[0])
        self._seen = 0
        self._done = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if self._done or not view:
            return 0
        if self._size == 0:
            self._check_end()
            return 0
        if self._size is not None:
            view = view[: self._size - self._seen]
        count = self._read(view)
        self._hash.update(view[:count])
        self._seen += count
        if count:
            self._check_end()
        elif self._size is None:
            self._finish()
        else:
            raise DamagedError(
                f"{self._where} is truncated: {self._seen} of {self._size} bytes of {self._digest}"
            )
        return count

    def _read(self, view: memoryview) -> int:
        try:
            return self._source.readinto(view) or 0
        except (OSError, EOFError, zlib.error) as error:  # the latter two from a gzip stream
            raise DamagedError(f"cannot read {self._where}: {error}") from error

    def _check_end(self) -> None:
        if self._seen != self._size:
            return
        if self._read(memoryview(bytearray(1))):
            raise DamagedError(
                f"{self._where} is longer than the {self._size} bytes promised for {self._digest}"
            )
        self._finish()

    def _finish(self) -> None:
        actual = f"{self._hash.name}:{self._hash.hexdigest()}"
        if actual != self._digest:
            raise DamagedError(
                f"{self._where} does not match its digest: expected {self._digest}, got {actual}"
            )
        self._done = True

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()


def verified(source: ByteSource, digest: str, size: int | None, where: str) -> BinaryIO:
    """A buffered `VerifiedReader`. `where` names the blob in errors; `size` is in bytes."""
    return io.BufferedReader(VerifiedReader(source, digest, size, where), BUFFER_SIZE)
