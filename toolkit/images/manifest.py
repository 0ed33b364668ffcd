"""Descriptors, manifests and indexes: OCI image-spec v1.1, docker image manifest v2 schema 2."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit.errors import DamagedError, PushedExecutableError, RefusedError, UnsupportedError
from toolkit.files.json_document import Document, parse_document
from toolkit.images.source import Platform
from toolkit.limits import MAX_LAYERS

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
EXECUTABLE_TYPE = "application/vnd.dockerc.executable.v1"
"""The artifactType of what `dockerc push` stores (toolkit/images/artifact.py)."""
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
_SCHEMA1_TYPES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
# Non-distributable and foreign layers are layers too; whether the source holds them shows on
# opening. What compresses them is told by their first bytes: media types are often wrong.
_LAYER_TYPE = re.compile(
    r"application/vnd\.oci\.image\.layer\.(?:nondistributable\.)?v1\.tar"
    r"(?:\+gzip|\+zstd|\+bzip2|\+xz)?"
    r"|application/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.gzip|\.zstd|\+zstd)?"
)

_SIZE_LIMIT = 1 << 63
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True)
class Descriptor:
    """OCI image-spec, descriptor.md. `size` in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""

    @property
    def is_foreign(self) -> bool:
        return ".nondistributable." in self.media_type or ".foreign." in self.media_type

    @property
    def is_no_image(self) -> bool:
        """An attestation (BuildKit, docs/attestations/attestation-storage.md: provenance dressed
        as an image), or another artifact that an index lists beside its images."""
        return (
            "vnd.docker.reference.type" in self.annotations
            or self.artifact_type not in _CONFIG_TYPES | {""}
            or (
                self.platform is not None
                and (self.platform.os, self.platform.architecture) == ("unknown", "unknown")
            )
        )


@dataclass(frozen=True)
class Manifest:
    """One image of one platform; layers lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True)
class Index:
    """Several images, or indexes of images."""

    entries: tuple[Descriptor, ...]


def check_digest(digest: str, where: str) -> str:
    """Returns the digest. Raises DockercError when it is malformed or its algorithm unknown."""
    if not _DIGEST.fullmatch(digest):
        raise UnsupportedError(
            f"{where} has a digest that is neither sha256 nor sha512: '{digest}'"
        )
    return digest


def parse_manifest(data: bytes, where: str, media_type: str = "") -> Manifest | Index:
    """Reads a manifest or an index; `media_type` is what the source said it is.

    Raises DockercError when it is neither.
    """
    document = parse_document(data, where)
    media_type = document.text("mediaType") or media_type
    schema = document.integer("schemaVersion")
    if media_type in _SCHEMA1_TYPES or schema == 1:
        raise UnsupportedError(
            f"{where} has docker's old format (schema 1), which is no longer read; "
            f"pull and push it again with a current docker or skopeo"
        )
    if schema != 2:
        raise DamagedError(f"{where} is not an image manifest: its schemaVersion is not 2")
    is_index = "manifests" in document.members
    # CVE-2021-41190: one text that different readers could take for different things.
    if is_index and ("layers" in document.members or "config" in document.members):
        raise RefusedError(f"{where} claims to be both a manifest and an index; refusing it")
    if is_index != (media_type in INDEX_TYPES) and media_type in INDEX_TYPES | MANIFEST_TYPES:
        raise DamagedError(f"{where} does not hold what its media type says: {media_type}")
    if is_index:
        return Index(tuple(descriptor(entry) for entry in document.objects("manifests")))
    return _manifest(document)


def describe(data: bytes, where: str, digest: str = "", media_type: str = "") -> Descriptor:
    """The descriptor of a manifest or index that nothing describes; its sha256 if no `digest`."""
    document = parse_manifest(data, where, media_type)
    return Descriptor(
        OCI_INDEX if isinstance(document, Index) else OCI_MANIFEST,
        digest or f"sha256:{hashlib.sha256(data).hexdigest()}",
        len(data),
    )


def _manifest(document: Document) -> Manifest:
    config = descriptor(document.object("config"))
    if config.media_type not in _CONFIG_TYPES:
        kind = document.text("artifactType") or config.media_type or "of no stated type"
        sentence = f"{document.where} is not a container image but an artifact: {kind}"
        if kind == EXECUTABLE_TYPE:
            raise PushedExecutableError(f"{sentence}; `dockerc pull` fetches it")
        raise UnsupportedError(sentence)
    layers = tuple(descriptor(layer) for layer in document.objects("layers"))
    if len(layers) > MAX_LAYERS:
        raise RefusedError(
            f"{document.where} has {len(layers)} layers; at most {MAX_LAYERS} are read"
        )
    for layer in layers:
        if layer.media_type.endswith("+encrypted"):
            raise UnsupportedError(
                f"{document.where} has encrypted layers; decrypt it with 'skopeo copy' first"
            )
        if not _LAYER_TYPE.fullmatch(layer.media_type):
            raise UnsupportedError(
                f"{document.where} has a layer that is no file system: {layer.media_type or '?'}"
            )
    return Manifest(config, layers)


def descriptor(entry: Document) -> Descriptor:
    """Reads one; raises DockercError."""
    size = entry.integer("size")
    if size is None or not 0 <= size < _SIZE_LIMIT:
        raise DamagedError(f"{entry.where} is malformed: a descriptor without a proper size")
    platform = None
    if "platform" in entry.members:
        platform = parse_platform(entry.object("platform"))
    return Descriptor(
        entry.text("mediaType"),
        check_digest(entry.text("digest"), entry.where),
        size,
        platform,
        entry.text_map("annotations"),
        entry.text("artifactType"),
    )


def parse_platform(document: Document) -> Platform | None:
    """The platform that an index entry or an image config states; None when it states none."""
    architecture = document.text("architecture")
    if not architecture:
        return None
    return Platform(document.text("os") or "linux", architecture, document.text("variant") or None)
