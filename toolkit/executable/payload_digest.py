"""The payload's digest: a record of 48 bytes between squashfs and footer (docs/format.md).

It stands outside of what it speaks of, where the format has padding that every reader skips. It
tells damage, not malice: whoever changes the payload on purpose can change the record as well.
"""

from __future__ import annotations

import struct

_RECORD = struct.Struct("<8s32s8x")
_MAGIC = b"dcsha256"
SIZE = _RECORD.size


def encode_record(digest: bytes) -> bytes:
    """The record of a SHA-256."""
    return _RECORD.pack(_MAGIC, digest)


def decode_record(padding: bytes) -> bytes | None:
    """The SHA-256 that the last bytes before a footer hold; None when they hold none."""
    if len(padding) < SIZE:
        return None
    magic, digest = _RECORD.unpack(padding[-SIZE:])
    return bytes(digest) if magic == _MAGIC else None
