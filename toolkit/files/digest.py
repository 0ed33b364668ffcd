"""SHA-256 of a part of a file, however large."""

from __future__ import annotations

from typing import BinaryIO

from toolkit.files.copy import pieces


def sha256_of(file: BinaryIO, offset: int, size: int) -> bytes:
    """Of `size` bytes from `offset`; raises OSError when they are not all there."""
    import hashlib  # OpenSSL, which commands that only copy do without

    digest = hashlib.sha256()
    for piece in pieces(file, offset, size):
        digest.update(piece)
    return digest.digest()
