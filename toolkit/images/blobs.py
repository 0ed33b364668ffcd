"""What `selection` needs of a transport that stores manifests and blobs by digest."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from toolkit.errors import AbsentError, DockercError, RefusedError
from toolkit.images.manifest import Descriptor
from toolkit.limits import MAX_DOCUMENT


class BlobStore(Protocol):
    """Content addressed by digest; safe to read from several threads at once."""

    def read_manifest(self, descriptor: Descriptor) -> bytes:
        """A manifest or index, verified. Raises DockercError when it is absent or wrong."""

    def open_blob(self, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """A verified stream. Raises DockercError when the blob is absent."""

    def stop(self) -> None:
        """`Image.stop`; nothing to do where nobody waits for anybody."""


def read_blob(store: BlobStore, descriptor: Descriptor, where: str) -> bytes:
    """A whole blob, verified. Raises DockercError when it is larger than a document may be."""
    if descriptor.size > MAX_DOCUMENT:
        raise RefusedError(
            f"{where} claims {descriptor.size} bytes; at most {MAX_DOCUMENT} are read"
        )
    with store.open_blob(descriptor) as stream:
        return stream.read()


def missing_blob(descriptor: Descriptor, reference: str, place: str = "it") -> DockercError:
    """The sentence for a blob that a manifest names and `place` does not have."""
    hint = " (a foreign layer, stored elsewhere)" if descriptor.is_foreign else ""
    return AbsentError(
        f"{reference} is incomplete: {place} lacks the blob {descriptor.digest}{hint}"
    )
