"""An executable from a registry: what a file of this machine has of it is copied, the rest is
fetched."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import DamagedError, DockercError
from toolkit.executable.chunks import Chunk, cut_alike, hashed
from toolkit.executable.executable import Executable, open_executable
from toolkit.executable.footer import read_footer
from toolkit.files.atomic import atomic_file, check_writable
from toolkit.files.copy import copy_range
from toolkit.files.digest import sha256_of
from toolkit.files.disk_space import check_room
from toolkit.images.artifact import Artifact, StoredChunk
from toolkit.images.auth.access import Access
from toolkit.images.reference import RegistryReference
from toolkit.images.transports.registry.executable import RemoteExecutable, open_remote_executable
from toolkit.services.progress import Progress
from toolkit.services.transfer.origin import write_origin

_AT_ONCE = 8
"""Chunks on their way: each is a request, which a distant registry takes its time to answer."""
_PIECE = 256 << 10
_MODE = 0o755


@dataclass(frozen=True)
class Pulled:
    """What was written, and what of it had to be fetched."""

    reference: RegistryReference
    digest: str
    size: int
    chunks: int
    fetched: int
    fetched_chunks: int


def pull(
    reference: RegistryReference,
    output: Path,
    bases: Sequence[Path],
    access: Access,
    progress: Progress,
) -> Pulled:
    """Write the executable; raises DockercError, and leaves what stood there, when it is none.

    `bases`, and an executable that is replaced, are looked into for chunks.
    """
    check_writable(output)
    with open_remote_executable(reference, access) as remote, ExitStack() as stack:
        known = [stack.enter_context(open_executable(base)) for base in bases]
        known += _replaced(output, stack)
        return _rebuild(remote, output, known, progress, _MODE)


def update(
    app: Path, reference: RegistryReference, access: Access, progress: Progress
) -> Pulled | None:
    """Replace the executable by what the reference names now; None when that is what it is."""
    check_writable(app)
    with open_executable(app) as executable, open_remote_executable(reference, access) as remote:
        artifact = remote.artifact
        if executable.size == artifact.size:
            whole = sha256_of(executable.file, 0, executable.size)
            if f"sha256:{whole.hex()}" == artifact.digest:
                write_origin(executable.file.fileno(), remote.name)
                return None
        # One that nobody may execute, as a download is, gets its mode from us.
        mode = os.fstat(executable.file.fileno()).st_mode & 0o777
        return _rebuild(remote, app, [executable], progress, mode if mode & 0o111 else _MODE)


def _replaced(output: Path, stack: ExitStack) -> list[Executable]:
    if not output.is_file():
        return []
    try:
        return [stack.enter_context(open_executable(output))]
    except DockercError:  # it is replaced, whatever it is
        return []


def _rebuild(
    remote: RemoteExecutable,
    output: Path,
    known: Sequence[Executable],
    progress: Progress,
    mode: int,
) -> Pulled:
    artifact = remote.artifact
    with atomic_file(output, mode) as file:
        check_room("the bytes of the executable", artifact.size, file.fileno())
        file.truncate(artifact.size)
        missing = _copy_known(artifact, known, file)
        _fetch(remote, missing, file, progress)
        whole = sha256_of(file, 0, artifact.size)
        if f"sha256:{whole.hex()}" != artifact.digest:
            raise DamagedError(
                f"{remote.name} is not what its manifest says: the whole file does not match its"
                f" digest: expected {artifact.digest}, got sha256:{whole.hex()}"
            )
        read_footer(file, str(remote.name))
        write_origin(file.fileno(), remote.name)
    return Pulled(
        remote.name,
        artifact.digest,
        artifact.size,
        len(artifact.chunks),
        sum(same[0].size for same in missing),
        len(missing),
    )


def _copy_known(
    artifact: Artifact, known: Sequence[Executable], file: BinaryIO
) -> list[list[StoredChunk]]:
    """Copy what these files have; returns the others, those of one digest together."""
    wanted: dict[str, list[StoredChunk]] = {}
    for chunk in artifact.chunks:
        wanted.setdefault(chunk.digest, []).append(chunk)
    for executable in known:
        for there, digest in _chunks_of(executable, artifact):
            for place in wanted.pop(digest, ()):
                file.seek(place.offset)
                copy_range(executable.file, there.offset, file, there.size)
    return list(wanted.values())


def _chunks_of(executable: Executable, artifact: Artifact) -> Iterator[tuple[Chunk, str]]:
    """What might be of use; nothing of a payload that is too damaged to be cut."""
    try:
        chunks = cut_alike(executable, artifact.mean)
    except DockercError:
        return
    yield from hashed(executable, chunks, {chunk.size for chunk in artifact.chunks})


def _fetch(
    remote: RemoteExecutable,
    missing: Sequence[Sequence[StoredChunk]],
    file: BinaryIO,
    progress: Progress,
) -> None:
    """Write each to all of its places, several at once."""
    lock = threading.Lock()
    total = sum(same[0].size for same in missing)
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pull")
    with progress.task("pull", total) as advance:

        def fetch(same: Sequence[StoredChunk]) -> None:
            at = 0
            with remote.open_chunk(same[0]) as blob:
                while data := blob.read(_PIECE):
                    with lock:
                        for place in same:
                            file.seek(place.offset + at)
                            file.write(data)
                        advance(len(data))
                    at += len(data)

        try:
            for future in [pool.submit(fetch, same) for same in missing]:
                future.result()
        except BaseException:
            remote.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
