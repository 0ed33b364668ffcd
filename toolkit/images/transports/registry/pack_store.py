"""Packs in a repository of a registry, each under a tag of its own: found by name, read, stored."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import BinaryIO

from toolkit.errors import AbsentError
from toolkit.images.artifact import EMPTY, EMPTY_DIGEST, StoredChunk
from toolkit.images.auth.access import Access
from toolkit.images.manifest import OCI_MANIFEST
from toolkit.images.reference import RegistryReference
from toolkit.images.stored_pack import StoredPack, pack_tag, parse_pack
from toolkit.images.transports.registry.upload import Uploads
from toolkit.images.verified import verified


class PackStore:
    """Safe to use from several threads. Methods raise DockercError."""

    def __init__(self, reference: RegistryReference, access: Access) -> None:
        self.reference = reference
        self._uploads = Uploads(reference, access, None)
        self._client = self._uploads.client

    def close(self) -> None:
        """Ends all requests, from any thread."""
        self._uploads.close()

    def find(self, name: str) -> StoredPack | None:
        """The pack of this name; None where the cache has none."""
        where = f"the manifest of a packed layer in {self.reference}"
        path = f"manifests/{self._tag(name)}"
        response, data = self._client.read(path, where, {"Accept": OCI_MANIFEST})
        return None if response.status_code == 404 else parse_pack(data, where, name)

    def open_chunk(self, chunk: StoredChunk) -> AbstractContextManager[BinaryIO]:
        """Its bytes, verified."""
        where = f"blob {chunk.digest} of {self.reference}"
        body = self._client.open_blob(chunk.digest, chunk.size, where)
        if body is None:
            raise AbsentError(f"{self.reference} lacks the blob {chunk.digest}")
        return verified(body, chunk.digest, chunk.size, where)

    def put_chunk(self, data: bytes, digest: str) -> bool:
        """Store a blob; False where it is there already."""
        return not self._uploads.has_blob(digest) and self._uploads.put_blob(data, digest)

    def put(self, pack: StoredPack) -> None:
        """Store the manifest of a pack whose chunks are there."""
        self.put_chunk(EMPTY, EMPTY_DIGEST)
        self._uploads.put_manifest(pack.encode(), OCI_MANIFEST, self._tag(pack.name))

    def _tag(self, name: str) -> str:
        return pack_tag(self.reference.tag or "latest", name)
