"""What an executable has behind its payload so that anybody can check it: hash tree, signed block
and digest record (docs/format.md)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

from toolkit.executable.elf import HEADER_SIZE, elf_machine
from toolkit.executable.hash_tree import BLOCK, shape_of, write_hash_tree
from toolkit.executable.payload_digest import encode_record
from toolkit.executable.signed_block import (
    MAX_STUB_VERSION,
    SIZE,
    PayloadPart,
    SignedBlock,
    StubPart,
    decode_signed_block,
)
from toolkit.executable.stub import is_installed_stub
from toolkit.files.copy import copy_range
from toolkit.version import __version__

SALT = hashlib.sha256(b"dockerc").digest()
"""One for all: the trees of two versions are the same where their payloads are."""


@dataclass(frozen=True)
class Kept:
    """What another executable with the same payload has: where its hash tree is, and the rest."""

    file: BinaryIO
    tree: int
    block: SignedBlock | None
    """None where there is neither: then both are made."""
    digest: bytes | None


@dataclass(frozen=True)
class Integrity:
    """What is written of a payload: made anew, or `kept` from another executable."""

    config: bytes
    """config.json, as it is in the payload."""
    version: str = ""
    """Of a stub that is not of this installation, if it is known."""
    kept: Kept | None = None


def write_integrity(
    file: BinaryIO, bytes_used: int, stub: bytes, flags: int, integrity: Integrity
) -> None:
    """Append all three to a file of stub and padded payload. Raises OSError."""
    offset = len(stub)
    about_stub = stub_part(stub, __version__ if is_installed_stub(stub) else integrity.version)
    kept = integrity.kept
    file.seek(0, 2)
    if kept and kept.block and kept.block.payload.bytes_used == bytes_used:
        copy_range(kept.file, kept.tree, file, shape_of(bytes_used).size)
        block, digest = kept.block.under(about_stub), kept.digest
    else:
        hashed = write_hash_tree(file, offset, bytes_used, SALT)
        # A record that is there already tells of damage that was done since.
        digest = kept.digest if kept and kept.digest else hashed.digest
        config_digest = hashlib.sha256(integrity.config).digest()
        payload = PayloadPart(bytes_used, SALT, hashed.root, flags, config_digest)
        block = SignedBlock(payload, about_stub)
    file.write(block.encode())
    if digest:
        file.write(encode_record(digest))


def stub_part(stub: bytes, version: str) -> StubPart:
    """What the signed block says of a padded stub."""
    machine = elf_machine(stub[:HEADER_SIZE]) or ""
    return StubPart(len(stub), hashlib.sha256(stub).digest(), machine, version[:MAX_STUB_VERSION])


def tree_offset(payload_end: int, offset: int) -> int:
    """Where the hash tree of a payload stands that goes from `offset` to `payload_end`."""
    return payload_end + (offset - payload_end) % BLOCK


def read_signed_block(file: BinaryIO, position: int, end: int) -> SignedBlock | None:
    """The block at a place that lies before `end`; None where there is none.

    Raises DamagedError for a malformed one.
    """
    if position + SIZE > end:
        return None
    file.seek(position)
    return decode_signed_block(file.read(SIZE))
