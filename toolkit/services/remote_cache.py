"""Caches of packed layers in registries, which builders share: `--cache-from` and `--cache-to`.

Nothing that comes from there is trusted, unless a key has signed it that the user has named:
layers/known_blocks.py checks it against the layer.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from toolkit.errors import (
    AbsentError,
    DamagedError,
    DockercError,
    RefusedError,
    UnsupportedError,
    UsageError,
)
from toolkit.executable.public_key import PublicKey
from toolkit.files.copy import pieces
from toolkit.files.disk_space import check_room
from toolkit.images.artifact import StoredChunk
from toolkit.images.auth.access import Access
from toolkit.images.reference import RegistryReference
from toolkit.images.source import Layer
from toolkit.images.stored_pack import MAX_PREFIX, MAX_SIGNATURES, StoredPack
from toolkit.images.transports.registry.pack_store import PackStore
from toolkit.limits import MAX_CHUNK
from toolkit.services.progress import Progress

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_FREE_SIZE = 64 << 20
"""Bytes that a pack may have, whatever its layer;"""
_MAX_RATIO = 16
"""and above that, bytes for each byte of the layer as the image stores it."""
_PATIENCE = 60
"""Seconds that a pack may take, whatever its size;"""
_SLOWEST = 256 << 10
"""and above that, bytes of it that must come each second: to compress it is faster."""
_PIECE = 256 << 10
_OF_ONE_PACK = (AbsentError, DamagedError, UnsupportedError)
"""Faults that say nothing of the cache's other packs."""


@dataclass(frozen=True)
class CacheNames:
    """What the user named, and how registries are to be reached. The login in `access` is for the
    registry `login_for` alone, which is the image's."""

    sources: tuple[RegistryReference, ...]
    targets: tuple[RegistryReference, ...]
    access: Access
    login_for: str
    trusted: tuple[PublicKey, ...] = ()
    """Whose packs are used as they are."""
    signer: Ed25519PrivateKey | None = None
    """Signs what is put into the targets."""

    def __post_init__(self) -> None:
        for reference in (*self.sources, *self.targets):
            if reference.digest:
                raise UsageError(f"a cache has a tag, not a digest: '{reference}'")
            if len(reference.tag or "") > MAX_PREFIX:
                raise UsageError(f"the tag of a cache has at most {MAX_PREFIX} letters")

    def open(self, reference: RegistryReference) -> PackStore:
        """Raises DockercError."""
        access = self.access
        if reference.registry != self.login_for:
            access = replace(access, credentials=None)
        return PackStore(reference, access)


@dataclass(frozen=True)
class Fetched:
    """Where a pack came from, and whether somebody vouches for it who is trusted."""

    store: PackStore
    is_trusted: bool


class RemoteCaches:
    """The caches, open for one build; safe to use from several threads."""

    def __init__(self, names: CacheNames, progress: Progress) -> None:
        """Raises DockercError for a cache to be written that cannot be asked at all."""
        self._names, self._progress = names, progress
        self._lock = threading.Lock()
        self._stopped = self._asked = False
        self.targets = [names.open(reference) for reference in names.targets]
        self._sources: list[PackStore] = []
        self._found: set[PackStore] = set()
        for reference in names.sources:
            try:
                self._sources.append(names.open(reference))
            except DockercError as error:
                self._tell(reference, error)
        self._usable = list(self._sources)

    def close(self) -> None:
        """Ends all requests, from any thread."""
        self._stopped = True
        for store in (*self._sources, *self.targets):
            store.close()

    def fetch(self, name: str, layer: Layer, file: BinaryIO, what: str) -> Fetched | None:
        """Write the pack of this name into the file; None where no cache has it.

        Unless it is trusted, the bytes are anybody's."""
        self._asked = True
        for store in tuple(self._usable):
            try:
                pack = store.find(name)
                if pack is None:
                    continue
                self._found.add(store)
                self._write(store, pack, layer, file, what)
                return Fetched(store, self._is_trusted(pack))
            except DockercError as error:
                file.seek(0)
                file.truncate()
                self.give_up(store, error, what)
        return None

    def has(self, name: str) -> str | None:
        """The first cache that says it has the pack of this name."""
        self._asked = True
        for store in tuple(self._usable):
            try:
                if store.find(name):
                    self._found.add(store)
                    return str(store.reference)
            except DockercError as error:
                self.give_up(store, error, "")
        return None

    def give_up(self, store: PackStore, error: DockercError, what: str) -> None:
        """Say that a pack cannot be used, or the whole cache, which is not asked any more."""
        with self._lock:
            is_known = store not in self._usable
            if not isinstance(error, _OF_ONE_PACK) and not is_known:
                self._usable.remove(store)
                what = ""
        if not (is_known or self._stopped):
            self._tell(store.reference, error, what)

    def tell_misses(self) -> None:
        """Name the caches that had nothing of all that was asked for."""
        for store in self._usable:
            if self._asked and store not in self._found:
                self._progress.note(f"the cache {store.reference} has none of the layers")

    def store(self, name: str, file: BinaryIO, what: str) -> None:
        """Put the pack in `file` into all caches to be written; raises DockercError."""
        size = file.seek(0, 2)
        made = StoredPack(name, tuple(_chunks(file, size)))
        if key := self._names.signer:
            public = key.public_key().public_bytes_raw()
            made = replace(made, signatures={public: key.sign(made.signed_bytes())})
        for store in self.targets:
            pack = made
            with suppress(*_OF_ONE_PACK):  # what is damaged is replaced
                there = store.find(name)
                if there and there.chunks == made.chunks:
                    pack = _with_signatures(there, made)
                    if pack == there:
                        continue
            with self._progress.task(f"{what}, to the cache", size) as advance:
                for chunk in pack.chunks:
                    file.seek(chunk.offset)
                    store.put_chunk(file.read(chunk.size), chunk.digest)
                    advance(chunk.size)
                store.put(pack)

    def _write(
        self, store: PackStore, pack: StoredPack, layer: Layer, file: BinaryIO, what: str
    ) -> None:
        most = _FREE_SIZE + _MAX_RATIO * (layer.size or 0)
        if layer.size is not None and pack.size > most:
            raise DamagedError(f"its pack has {pack.size} bytes; at most {most} are read")
        check_room("packed layers", pack.size, file.fileno())
        end = time.monotonic() + _PATIENCE + pack.size / _SLOWEST
        with self._progress.task(f"{what}, from the cache", pack.size) as advance:
            for chunk in pack.chunks:
                with store.open_chunk(chunk) as blob:
                    while data := blob.read(_PIECE):
                        file.write(data)
                        advance(len(data))
                        if time.monotonic() > end:
                            raise RefusedError(f"it gives less than {_SLOWEST} bytes a second")
        file.flush()

    def _is_trusted(self, pack: StoredPack) -> bool:
        message = pack.signed_bytes()
        return any(
            key.has_signed(message, pack.signatures.get(key.data, b""))
            for key in self._names.trusted
        )

    def _tell(self, reference: RegistryReference, error: DockercError, what: str = "") -> None:
        about = f"{what}: " if what else ""
        self._progress.note(f"{about}without the cache {reference}: {error}")


def _with_signatures(there: StoredPack, made: StoredPack) -> StoredPack:
    """Others' signatures stay, as long as there is room."""
    signatures = {**there.signatures, **made.signatures}
    return made if len(signatures) > MAX_SIGNATURES else replace(made, signatures=signatures)


def _chunks(file: BinaryIO, size: int) -> Iterator[StoredChunk]:
    for offset in range(0, size, MAX_CHUNK):
        digest = hashlib.sha256()
        length = min(MAX_CHUNK, size - offset)
        for piece in pieces(file, offset, length):
            digest.update(piece)
        yield StoredChunk(offset, length, f"sha256:{digest.hexdigest()}")
