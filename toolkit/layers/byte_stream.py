"""What a tar is read from."""

from __future__ import annotations

from typing import Protocol


class ByteStream(Protocol):
    """A stream that gives exactly what it is asked for, or raises DockercError."""

    def read(self, size: int) -> bytes: ...

    def skip(self, size: int) -> None: ...

    def discard(self, size: int) -> None:
        """Skip so many bytes, or what is left of them before the end."""

    def at_end(self) -> bool: ...

    @property
    def stored(self) -> int:
        """Bytes read so far of what the stream is made from, compressed or not."""
