"""Reading an executable that was pushed to a registry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from toolkit.images.artifact import Artifact, StoredChunk, parse_artifact
from toolkit.images.auth.access import Access
from toolkit.images.manifest import Descriptor
from toolkit.images.reference import RegistryReference
from toolkit.images.transports.registry.referrers import list_referrers
from toolkit.images.transports.registry.repository import Repository, open_repository


@dataclass(frozen=True)
class RemoteExecutable:
    """An executable under its long name, its registry kept open."""

    name: RegistryReference
    digest: str
    """The manifest's."""
    artifact: Artifact
    repository: Repository

    def open_chunk(self, chunk: StoredChunk) -> AbstractContextManager[BinaryIO]:
        """Its bytes, verified; from any thread."""
        return self.repository.open_blob(chunk.descriptor)

    def referrers(self) -> list[Descriptor]:
        """What is attached to it; raises DockercError."""
        return list_referrers(self.repository.client, self.digest)

    def stop(self) -> None:
        """Ends all reading, from any thread."""
        self.repository.stop()


@contextmanager
def open_remote_executable(
    reference: RegistryReference, access: Access
) -> Iterator[RemoteExecutable]:
    """Raises DockercError when there is none, or it is an image or another artifact."""
    with open_repository(reference, access, _artifact) as (repository, name, found):
        yield RemoteExecutable(name, *found, repository)


def _artifact(repository: Repository, name: str) -> tuple[str, Artifact]:
    data, media_type = repository.read_named()
    digest = repository.digest or f"sha256:{hashlib.sha256(data).hexdigest()}"
    return digest, parse_artifact(data, f"the manifest of {name}", media_type)
