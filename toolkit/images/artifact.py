"""An executable in a registry: an OCI artifact (image-spec v1.1) whose blobs, one after the other,
are the file. docs/travel.md has the format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import DamagedError, RefusedError, UnsupportedError
from toolkit.files.json_document import Document, parse_document
from toolkit.images.manifest import (
    EXECUTABLE_TYPE,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_MANIFEST,
    Descriptor,
    check_digest,
    descriptor,
)
from toolkit.limits import MAX_CHUNK, MAX_CHUNKS

CHUNK_TYPE = "application/vnd.dockerc.executable.chunk.v1"
EMPTY = b"{}"
"""The config of an artifact that has none (image-spec, "Guidance for an Empty Descriptor")."""
EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
EMPTY_CONFIG = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": EMPTY_DIGEST,
    "size": len(EMPTY),
}
_DIGEST = "dev.dockerc.executable.digest"
_SIZE = "dev.dockerc.executable.size"
_MEAN = "dev.dockerc.executable.chunk-size"
_MAX_SIZE = MAX_CHUNK * MAX_CHUNKS


@dataclass(frozen=True)
class StoredChunk:
    """A blob, and where its bytes are in the file."""

    offset: int
    size: int
    digest: str

    @property
    def descriptor(self) -> Descriptor:
        """How the manifest tells it."""
        return Descriptor(CHUNK_TYPE, self.digest, self.size)

    def as_layer(self, media_type: str) -> dict[str, Any]:
        """As one of the layers of a manifest."""
        return {"mediaType": media_type, "digest": self.digest, "size": self.size}


def chunk_manifest(
    kind: str, media_type: str, chunks: Sequence[StoredChunk], annotations: Mapping[str, str]
) -> bytes:
    """The manifest of a file in chunks, of that media type; `kind` is its artifactType."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": EMPTY_CONFIG,
        "layers": [chunk.as_layer(media_type) for chunk in chunks],
        "annotations": annotations,
    }
    return json.dumps(manifest, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Artifact:
    """What the manifest says of the file: its digest, and its chunks in their order, which leave
    nothing out. `mean` is what it was cut by (toolkit/executable/chunks.py)."""

    digest: str
    mean: int
    chunks: tuple[StoredChunk, ...]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(chunk.size for chunk in self.chunks)

    def encode(self) -> bytes:
        """The manifest. The same file gives the same bytes."""
        annotations = {_DIGEST: self.digest, _MEAN: str(self.mean), _SIZE: str(self.size)}
        return chunk_manifest(EXECUTABLE_TYPE, CHUNK_TYPE, self.chunks, annotations)


def parse_artifact(data: bytes, where: str, media_type: str) -> Artifact:
    """Reads the manifest; raises DockercError when it is an image's, or any other, or lies."""
    document = parse_document(data, where)
    media_type = document.text("mediaType") or media_type
    kind = document.text("artifactType")
    if kind != EXECUTABLE_TYPE:
        if kind or media_type not in INDEX_TYPES | MANIFEST_TYPES:
            what = kind or media_type or "of no stated type"
            raise UnsupportedError(
                f"{where} is not that of an executable but of an artifact: {what}"
            )
        raise UnsupportedError(
            f"{where} is that of a container image, not of an executable; `dockerc build` makes one"
        )
    if media_type != OCI_MANIFEST or "manifests" in document.members:
        raise DamagedError(f"{where} is malformed: an executable has no index")
    annotations = Document(document.text_map("annotations"), where)
    digest = check_digest(annotations.text(_DIGEST), where)
    if not digest.startswith("sha256:"):
        raise UnsupportedError(f"{where} has a digest of the whole file that is not sha256")
    artifact = Artifact(
        digest, _number(annotations, _MEAN), tuple(read_chunks(document, CHUNK_TYPE))
    )
    size = _number(annotations, _SIZE)
    if size != artifact.size:
        raise DamagedError(
            f"{where} is malformed: its blobs have {artifact.size} bytes, the file {size}"
        )
    return artifact


def read_chunks(document: Document, media_type: str) -> list[StoredChunk]:
    """The layers of a manifest that are one file, all of this type; raises DockercError."""
    layers = document.objects("layers")
    if not 0 < len(layers) <= MAX_CHUNKS:
        raise RefusedError(f"{document.where} has {len(layers)} blobs; 1 to {MAX_CHUNKS} are read")
    chunks, offset = [], 0
    for layer in layers:
        each = descriptor(layer)
        if each.media_type != media_type:
            raise UnsupportedError(
                f"{document.where} has a blob that is no part of a file: {each.media_type or '?'}"
            )
        if not 0 < each.size <= MAX_CHUNK:
            raise RefusedError(
                f"{document.where} has a blob of {each.size} bytes; 1 to {MAX_CHUNK} are read"
            )
        chunks.append(StoredChunk(offset, each.size, each.digest))
        offset += each.size
    return chunks


def _number(annotations: Document, name: str) -> int:
    text = annotations.text(name)
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= _MAX_SIZE):
        raise DamagedError(f"{annotations.where} is malformed: {name} is no size: {text[:40]!a}")
    return int(text)
