"""Reading an executable that was pushed to a registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from toolkit.images.artifact import Artifact, StoredChunk, parse_artifact
from toolkit.images.auth.access import Access
from toolkit.images.reference import RegistryReference
from toolkit.images.transports.registry.repository import Repository, open_repository


@dataclass(frozen=True)
class RemoteExecutable:
    """An executable under its long name, its registry kept open."""

    name: RegistryReference
    artifact: Artifact
    repository: Repository

    def open_chunk(self, chunk: StoredChunk) -> AbstractContextManager[BinaryIO]:
        """Its bytes, verified; from any thread."""
        return self.repository.open_blob(chunk.descriptor)

    def stop(self) -> None:
        """Ends all reading, from any thread."""
        self.repository.stop()


@contextmanager
def open_remote_executable(
    reference: RegistryReference, access: Access
) -> Iterator[RemoteExecutable]:
    """Raises DockercError when there is none, or it is an image or another artifact."""
    with open_repository(reference, access, _artifact) as (repository, name, artifact):
        yield RemoteExecutable(name, artifact, repository)


def _artifact(repository: Repository, name: str) -> Artifact:
    data, media_type = repository.read_named()
    return parse_artifact(data, f"the manifest of {name}", media_type)
