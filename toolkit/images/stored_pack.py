"""A pack in a registry: an OCI artifact (image-spec v1.1) whose blobs, one after the other, are the
pack's file. docs/remote-cache.md has the format."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from toolkit.errors import DamagedError, UnsupportedError
from toolkit.files.json_document import Document, parse_document
from toolkit.images.artifact import StoredChunk, chunk_manifest, read_chunks

PACK_TYPE = "application/vnd.dockerc.pack.v1"
_CHUNK_TYPE = "application/vnd.dockerc.pack.chunk.v1"
_NAME = "dev.dockerc.pack.name"
_SIGNATURE = "dev.dockerc.pack.signature."
"""And the key, 64 hexadecimal digits."""
MAX_SIGNATURES = 16


@dataclass(frozen=True)
class StoredPack:
    """What the manifest says: what the pack was made of, its chunks in their order, and signatures
    by their public keys, which anybody can have put there."""

    name: str
    chunks: tuple[StoredChunk, ...]
    signatures: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the pack's file."""
        return sum(chunk.size for chunk in self.chunks)

    def encode(self) -> bytes:
        """The manifest. The same pack gives the same bytes."""
        signatures = {
            _SIGNATURE + key.hex(): base64.b64encode(value).decode()
            for key, value in sorted(self.signatures.items())
        }
        annotations = {_NAME: self.name} | signatures
        return chunk_manifest(PACK_TYPE, _CHUNK_TYPE, self.chunks, annotations)

    def signed_bytes(self) -> bytes:
        """What a signature is over: these are the bytes of the pack of this name."""
        lines = ["dockerc pack", self.name, *(chunk.digest for chunk in self.chunks)]
        return "\n".join(lines).encode()


def parse_pack(data: bytes, where: str, name: str) -> StoredPack:
    """Reads the manifest; raises DockercError when it is not that of the pack of this name."""
    document = parse_document(data, where)
    kind = document.text("artifactType") or document.text("mediaType")
    if kind != PACK_TYPE:
        raise UnsupportedError(f"{where} is not that of a packed layer: {kind[:200] or '?'}")
    annotations = Document(document.text_map("annotations"), where)
    if annotations.text(_NAME) != name:
        raise DamagedError(f"{where} is that of another pack: {annotations.text(_NAME)[:200]!a}")
    chunks = tuple(read_chunks(document, _CHUNK_TYPE))
    signatures = dict(_signatures(annotations.members))
    if len(signatures) > MAX_SIGNATURES:
        raise DamagedError(
            f"{where} has {len(signatures)} signatures; at most {MAX_SIGNATURES} are read"
        )
    return StoredPack(name, chunks, signatures)


def _signatures(annotations: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    """Those that are well-formed."""
    for name, value in annotations.items():
        key = name.removeprefix(_SIGNATURE)
        if name.startswith(_SIGNATURE) and re.fullmatch(r"[0-9a-f]{64}", key):
            with suppress(ValueError):
                yield bytes.fromhex(key), base64.b64decode(value, validate=True)


def pack_tag(prefix: str, name: str) -> str:
    """The tag under which the pack of this name is kept, in a cache whose tag is `prefix`."""
    return f"{prefix}-{hashlib.sha256(name.encode()).hexdigest()}"


MAX_PREFIX = 128 - len(pack_tag("", ""))
"""Letters of a cache's tag: those of a pack's are 128 at most (distribution-spec)."""
