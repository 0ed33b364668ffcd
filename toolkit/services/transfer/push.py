"""An executable to a registry: only the chunks that the repository lacks are sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import DockercError, about
from toolkit.executable.chunks import Chunk, cut, hashed, read_chunk
from toolkit.executable.executable import Executable, open_executable
from toolkit.files.digest import sha256_of
from toolkit.images.artifact import EMPTY, EMPTY_DIGEST, Artifact, StoredChunk
from toolkit.images.auth.access import Access
from toolkit.images.manifest import OCI_MANIFEST, Descriptor
from toolkit.images.reference import RegistryReference
from toolkit.images.transports.registry.upload import Uploads
from toolkit.services.progress import Progress
from toolkit.services.transfer.attach import attach_sbom, sbom_of
from toolkit.services.transfer.origin import read_origin

_AT_ONCE = 8
"""Chunks on their way, each in memory."""


@dataclass(frozen=True)
class Pushed:
    """What was stored, under which manifest, and what of it had to be sent."""

    reference: RegistryReference
    digest: str
    size: int
    chunks: int
    sent: int
    sent_chunks: int
    sbom: str | None
    """The digest of the manifest of the bill of materials that is attached to it."""

    @property
    def name(self) -> str:
        """The reference by its digest."""
        return f"docker://{self.reference.name}@{self.digest}"


def push(
    path: Path,
    reference: RegistryReference,
    access: Access,
    progress: Progress,
    *,
    with_sbom: bool = False,
) -> Pushed:
    """Store the file, perhaps with a bill of materials attached to it; raises DockercError when it
    is no executable, or it cannot be stored."""
    origin: RegistryReference | None = None
    with suppress(DockercError):  # it would save work only
        origin = read_origin(path)
    with open_executable(path) as executable, closing(Uploads(reference, access, origin)) as place:
        with about(str(path)):
            artifact = describe(executable)
            document = sbom_of(executable, path.name) if with_sbom else None
        sent = _send(executable, artifact, place, progress)
        if not place.has_blob(EMPTY_DIGEST):
            place.put_blob(EMPTY, EMPTY_DIGEST)
        manifest = artifact.encode()
        digest = place.put_manifest(manifest, OCI_MANIFEST)
        subject, sbom = Descriptor(OCI_MANIFEST, digest, len(manifest)), None
        if document is not None:
            sbom = attach_sbom(place, subject, document)
    count = len(artifact.chunks)
    return Pushed(reference, digest, artifact.size, count, sum(sent), len(sent), sbom)


def describe(executable: Executable) -> Artifact:
    """The file as it is stored; raises DockercError on a damaged payload, or OSError."""
    mean, chunks = cut(executable)
    stored = tuple(
        StoredChunk(chunk.offset, chunk.size, digest)
        for chunk, digest in hashed(executable, chunks)
    )
    whole = sha256_of(executable.file, 0, executable.size)
    return Artifact(f"sha256:{whole.hex()}", mean, stored)


def _send(
    executable: Executable, artifact: Artifact, place: Uploads, progress: Progress
) -> list[int]:
    """Store what is not there; returns the sizes of what had to be sent."""
    lock = threading.Lock()
    different = list({chunk.digest: chunk for chunk in artifact.chunks}.values())
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="push")

    def send(chunk: StoredChunk, advance: Callable[[int], None]) -> int:
        """Bytes that were sent."""
        with lock:
            data = read_chunk(executable, Chunk(chunk.offset, chunk.size))
        is_sent = place.put_blob(data, chunk.digest)
        with lock:
            advance(chunk.size)
        return chunk.size * is_sent

    try:
        there = pool.map(place.has_blob, [chunk.digest for chunk in different])
        missing = [chunk for chunk, is_there in zip(different, there, strict=True) if not is_there]
        with progress.task("push", sum(chunk.size for chunk in missing)) as advance:
            waiting = [pool.submit(send, chunk, advance) for chunk in missing]
            return [size for future in waiting if (size := future.result())]
    except BaseException:
        place.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
