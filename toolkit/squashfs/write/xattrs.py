"""The xattr tables: each distinct set of extended attributes is stored once."""

from __future__ import annotations

from toolkit.errors import DockercError
from toolkit.limits import MAX_NAME
from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.structs import (
    NO_XATTR,
    U32,
    XATTR_ID,
    XATTR_KEY,
    XATTR_PREFIXES,
    XATTR_TABLE,
)
from toolkit.squashfs.write.metadata import MetadataStream, encode_table

_MAX_VALUE = 65536
"""XATTR_SIZE_MAX of linux/limits.h."""


class XattrTable:
    """Collects sets while inodes are written, and encodes them afterwards."""

    def __init__(self, compressor: Compressor) -> None:
        self._compressor = compressor
        self._pairs = MetadataStream(compressor)
        self._known: dict[tuple[tuple[bytes, bytes], ...], int] = {}
        self._ids = bytearray()

    def index(self, xattrs: tuple[tuple[bytes, bytes], ...]) -> int:
        """The number of this set, stored now if it is new; NO_XATTR for an empty one."""
        if not xattrs:
            return NO_XATTR
        if xattrs not in self._known:
            self._known[xattrs] = len(self._known)
            reference = self._pairs.position.reference
            size = 0
            for name, value in xattrs:
                data = _pair(name, value)
                self._pairs.write(data)
                size += len(data)
            self._ids += XATTR_ID.pack(reference, len(xattrs), size)
        return self._known[xattrs]

    def encode(self, start: int) -> tuple[bytes, int] | None:
        """The tables to be written at `start`, and where their header is; None without xattrs."""
        if not self._known:
            return None
        self._pairs.finish()
        ids, list_at = encode_table(
            bytes(self._ids), start + len(self._pairs.output), self._compressor
        )
        blocks = list_at - start - len(self._pairs.output)
        header = XATTR_TABLE.pack(start, len(self._known), 0)
        return bytes(self._pairs.output) + ids[:blocks] + header + ids[blocks:], list_at


def _pair(name: bytes, value: bytes) -> bytes:
    prefix = next(prefix for prefix in XATTR_PREFIXES if name.startswith(prefix))
    suffix = name[len(prefix) :]
    if len(name) > MAX_NAME or len(value) > _MAX_VALUE:
        raise DockercError(
            f"an extended attribute has a name of {len(name)} and a value of {len(value)} bytes;"
            f" Linux holds {MAX_NAME} and {_MAX_VALUE}"
        )
    key = XATTR_KEY.pack(XATTR_PREFIXES[prefix], len(suffix)) + suffix
    return key + U32.pack(len(value)) + value
