"""The signed block: what an executable is made of, in 4096 bytes, and who vouches for that.

It stands behind the hash tree (docs/format.md). Its first part speaks of the payload and holds no
place in the file, so that a signature over it stays when the runtime stub is replaced; its second
speaks of the stub. Signatures are over the bytes of the first part, or of both.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from toolkit.errors import DamagedError
from toolkit.executable.hash_tree import BLOCK, shape_of

SIZE = 4096
_MAGIC = b"dcsigned"
_VERSION = 1
_SHA256 = 1
_PAYLOAD = struct.Struct("<8sHHIQQQ32s32sQ32s48x")
_STUB = struct.Struct("<Q32s16s16s56x")
_SIGNATURE = struct.Struct("<BB6x32s64s24x")
_SIGNATURES = _PAYLOAD.size + _STUB.size
MAX_SIGNATURES = (SIZE - _SIGNATURES) // _SIGNATURE.size
MAX_STUB_VERSION = 15
"""Bytes; one is left for a zero."""

PAYLOAD = 1
"""What a signature is over: the bytes about the payload,"""
RUNTIME = 2
"""and those about the stub."""
ED25519 = 1


@dataclass(frozen=True)
class PayloadPart:
    """About the payload, wherever it is."""

    bytes_used: int
    salt: bytes
    root: bytes
    """Of the hash tree."""
    flags: int
    """The footer's."""
    config_digest: bytes
    """The SHA-256 of config.json."""

    def encode(self) -> bytes:
        """The bytes that publishers sign."""
        shape = shape_of(self.bytes_used)
        return _PAYLOAD.pack(
            _MAGIC, _VERSION, _SHA256, BLOCK, self.bytes_used, shape.blocks * BLOCK, shape.size,
            self.salt, self.root, self.flags, self.config_digest,
        )  # fmt: skip


@dataclass(frozen=True)
class StubPart:
    """About the runtime stub: its length with padding, its SHA-256, and what it says it is."""

    size: int
    digest: bytes
    machine: str
    version: str

    def encode(self) -> bytes:
        """The bytes that are signed together with those of the payload."""
        words = (self.machine.encode(), self.version.encode())
        return _STUB.pack(self.size, self.digest, *words)


@dataclass(frozen=True)
class Signature:
    """Of one key, over one part or both; of an algorithm that may be unknown here."""

    covers: int
    algorithm: int
    key: bytes
    """The public key itself. Anybody can put one here: it says which key to try, not whom to trust.
    """
    value: bytes

    @property
    def covers_stub(self) -> bool:
        """Whether it is over the stub, too."""
        return bool(self.covers & RUNTIME)


@dataclass(frozen=True)
class SignedBlock:
    """All of it."""

    payload: PayloadPart
    stub: StubPart
    signatures: tuple[Signature, ...] = ()

    def encode(self) -> bytes:
        """The 4096 bytes."""
        parts = b"".join(
            _SIGNATURE.pack(each.covers, each.algorithm, each.key, each.value)
            for each in self.signatures
        )
        return (self.payload.encode() + self.stub.encode() + parts).ljust(SIZE, b"\0")

    def signed_bytes(self, covers: int) -> bytes:
        """What a signature that covers this is over."""
        stub = self.stub.encode() if covers & RUNTIME else b""
        return self.payload.encode() + stub

    def under(self, stub: StubPart) -> SignedBlock:
        """With another stub: signatures that are over the stub go."""
        if stub == self.stub:
            return self
        kept = tuple(each for each in self.signatures if not each.covers_stub)
        return replace(self, stub=stub, signatures=kept)


def decode_signed_block(data: bytes) -> SignedBlock | None:
    """The block of these bytes, None where there is none; raises DamagedError for a malformed one.

    What is decoded is encoded to the same bytes again.
    """
    if len(data) != SIZE or not data.startswith(_MAGIC):
        return None
    _, version, algorithm, block, bytes_used, offset, size, salt, root, flags, config = (
        _PAYLOAD.unpack_from(data)
    )
    if (version, algorithm, block) != (_VERSION, _SHA256, BLOCK):
        raise DamagedError(
            f"its signed block is of version {version} (hash {algorithm}, blocks of {block} bytes),"
            " which this dockerc does not know"
        )
    if not 0 < bytes_used < 1 << 48:
        raise DamagedError(f"its signed block is for a payload of {bytes_used} bytes")
    shape = shape_of(bytes_used)
    if (offset, size) != (shape.blocks * BLOCK, shape.size):
        raise DamagedError("its signed block tells the wrong place of its hash tree")
    stub_size, digest, machine, stub_version = _STUB.unpack_from(data, _PAYLOAD.size)
    found = SignedBlock(
        PayloadPart(bytes_used, salt, root, flags, config),
        StubPart(stub_size, digest, _word(machine), _word(stub_version)),
        tuple(_signatures(data)),
    )
    if found.encode() != data:
        raise DamagedError("its signed block has bytes where zeros must be")
    return found


def _word(field: bytes) -> str:
    word = field.rstrip(b"\0")
    if not all(0x20 < byte < 0x7F for byte in word) or len(word) == len(field):
        raise DamagedError("its signed block names its runtime in bytes that are no word")
    return word.decode()


def _signatures(data: bytes) -> Iterator[Signature]:
    for start in range(_SIGNATURES, SIZE - _SIGNATURE.size + 1, _SIGNATURE.size):
        covers, algorithm, key, value = _SIGNATURE.unpack_from(data, start)
        if not algorithm:
            return
        if covers not in (PAYLOAD, PAYLOAD | RUNTIME):
            raise DamagedError("its signed block has a signature over nothing that is known")
        yield Signature(covers, algorithm, key, value)
