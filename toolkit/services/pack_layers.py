"""An image's layers as packs: taken from the cache, or read, packed and put there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from toolkit.errors import DockercError, RefusedError, about
from toolkit.files.copy import copy_range
from toolkit.files.temporary import must_be_closed
from toolkit.images.source import Image, Layer
from toolkit.layers import packfile
from toolkit.layers.budget import Budget, cost
from toolkit.layers.known_blocks import ForeignBlocks, KnownBlocks
from toolkit.layers.pack import Pack, pack_file
from toolkit.limits import MAX_BLOCKS
from toolkit.services.cache import Cache
from toolkit.services.progress import Progress
from toolkit.squashfs.compress import BlockSource, Compressor
from toolkit.squashfs.tree import Content, Inode

if TYPE_CHECKING:
    from toolkit.layers.added import AddedFile
    from toolkit.layers.stream import LayerStream
    from toolkit.services.remote_cache import RemoteCaches

_LAYERS_AT_ONCE = 4
"""Downloads that overlap; memory grows with them, and more gain nothing even on many cores."""


@dataclass(frozen=True)
class Parameters:
    """How files are cut and compressed; part of a cached pack's name.

    `block_size` in bytes, a power of two from 4 KiB to 1 MiB; `level` is zstd's, 1 to 22, None to
    store. docs/compression.md has the table that the defaults were chosen from.
    """

    block_size: int = 512 << 10
    level: int | None = 10


class Packing:
    """Packs one image's layers; the packs' files live as long as this context.

    Without a cache, or where it cannot be written, packs are nameless files in `scratch`: however
    the build ends, nothing of them is left. `remote` are caches that are asked for what is not in
    `cache`, and that get all packs with `store_packs`.
    """

    def __init__(
        self,
        parameters: Parameters,
        cache: Cache | None,
        scratch: Path,
        remote: RemoteCaches | None = None,
    ) -> None:
        self.cached = 0
        """Layers that were in the cache."""
        self.fetched = 0
        """Layers whose compressed blocks were in a cache of `remote`."""
        self._parameters, self._cache, self._scratch = parameters, cache, scratch
        self._remote = remote
        self._compressor = Compressor(parameters.level, parameters.block_size)
        self._stack = ExitStack()
        self._stopped = threading.Event()
        self._budget = Budget()

    def __enter__(self) -> Packing:
        self._stack.enter_context(self._compressor)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pack_layers(self, image: Image, progress: Progress) -> list[Pack]:
        """Every layer's pack, lowest first; raises DockercError for the first that fails."""
        pool = ThreadPoolExecutor(_LAYERS_AT_ONCE, thread_name_prefix="layer")
        try:
            waiting = [
                pool.submit(self._pack_layer, image, number, layer, progress)
                for number, layer in enumerate(image.layers)
            ]
            packs = _within_bounds([future.result() for future in waiting])
            if self._remote:
                self._remote.tell_misses()
            return packs
        except BaseException:
            # First what the threads wait for, then the threads.
            self._stopped.set()
            image.stop()
            if self._remote:
                self._remote.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def store_packs(self, image: Image, packs: Sequence[Pack]) -> None:
        """Put the layers' packs into the remote caches; raises DockercError."""
        if self._remote and self._remote.targets:
            for number, (layer, pack) in enumerate(zip(image.layers, packs, strict=False), 1):
                name = remote_name(self._parameters, layer)
                self._remote.store(name, pack.file, f"layer {number}/{len(image.layers)}")

    def pack_bytes(self, data: bytes, number: int) -> tuple[Pack, Content]:
        """A pack of one file of our own, never cached."""
        return pack_file(data, number, self._scratch_file(), self._compressor, self._block_size)

    def pack_hot_files(
        self, hot: Mapping[Inode, Iterable[int]], tree: Inode, packs: list[Pack]
    ) -> tuple[Pack, list[Content]]:
        """One more pack, of some of these files, and where all of them are (hot_files.py)."""
        from toolkit.layers.hot_files import pack_hot_files

        file, size = self._scratch_file(), self._block_size
        return pack_hot_files(hot, tree, packs, file, self._compressor, size)

    def pack_added(
        self, files: Sequence[AddedFile], tree: Inode, number: int
    ) -> tuple[Pack, Layer]:
        """A pack of files of this machine, never cached, and what it is as a layer of an image
        whose files are `tree`."""
        from toolkit.layers.added import write_layer
        from toolkit.layers.packer import Packer
        from toolkit.layers.stream import LayerStream

        tar = self._scratch_file()
        write_layer(files, tree, tar)
        size = tar.seek(0, io.SEEK_END)
        tar.seek(0)
        digest = hashlib.sha256()
        while piece := tar.read(1 << 20):
            digest.update(piece)
        tar.seek(0)
        layer = Layer(f"sha256:{digest.hexdigest()}", size)
        packer = Packer(
            number, self._scratch_file(), self._compressor, self._block_size, budget=self._budget
        )
        with LayerStream(tar, layer.diff_id) as stream, about("--add-file"):
            return packer.read(stream), layer

    @property
    def _block_size(self) -> int:
        return self._parameters.block_size

    def _pack_layer(self, image: Image, number: int, layer: Layer, progress: Progress) -> Pack:
        what = f"layer {number + 1}/{len(image.layers)}"
        name = _pack_name(self._parameters, layer)
        with about(what):
            if pack := self._find(name, number):
                progress.note(f"{what}: cached")
                self.cached += 1
                return pack
            if self._remote and (
                pack := self._from_remote(self._remote, image, number, layer, progress)
            ):
                self.fetched += 1
                return pack
            return self._make(image, number, layer, progress, lambda: self._compressor)

    def _from_remote(
        self, remote: RemoteCaches, image: Image, number: int, layer: Layer, progress: Progress
    ) -> Pack | None:
        """The pack of blocks that a remote cache has: of a trusted one as it is, else checked."""
        what, file = f"layer {number + 1}/{len(image.layers)}", self._scratch_file()
        fetched = remote.fetch(remote_name(self._parameters, layer), layer, file, what)
        if fetched is None:
            return None
        try:
            if fetched.is_trusted:
                return self._adopt(file, number, layer)
            sizes = packfile.load_sizes(file)
            if sizes is None:
                raise ForeignBlocks("its pack is damaged")
            return self._make(
                image, number, layer, progress, lambda: KnownBlocks(file, sizes, self._compressor)
            )
        except ForeignBlocks as error:
            remote.give_up(fetched.store, error, what)
        return None

    def _adopt(self, file: BinaryIO, number: int, layer: Layer) -> Pack:
        """The pack in a file that was fetched, which is put into the cache, too; raises
        ForeignBlocks."""
        pack = packfile.load(file, number, self._block_size, is_whole=True)
        if pack is None:
            raise ForeignBlocks("its pack is damaged")
        size = file.seek(0, io.SEEK_END)
        self._budget.take(sum(map(cost, pack.entries)), size)
        name = _pack_name(self._parameters, layer)
        if self._cache and (made := self._new_pack(name)):
            descriptor, path = made
            try:
                with open(descriptor, "wb") as kept:
                    copy_range(file, 0, kept, size)
                self._cache.keep(path, name)
            except OSError:  # it is full, or a directory has that name
                self._cache.forget(path)
        return pack

    def _make(
        self,
        image: Image,
        number: int,
        layer: Layer,
        progress: Progress,
        blocks: Callable[[], BlockSource],
    ) -> Pack:
        """The layer's pack, in the cache if possible. `blocks` gives what compresses them."""
        from toolkit.layers.packer import Packer  # a build of cached layers does without

        what = f"layer {number + 1}/{len(image.layers)}"
        name = _pack_name(self._parameters, layer)
        if made := self._new_pack(name):
            try:
                with (
                    self._budget.attempt() as budget,
                    self._reading(image, layer, what, progress) as stream,
                ):
                    return self._make_cached(stream, name, number, blocks(), budget, *made)
            except _CacheFull:
                progress.note(f"{what}: the cache cannot hold it; doing without")
        with (
            self._budget.attempt() as budget,
            self._reading(image, layer, what, progress) as stream,
        ):
            file, data_hash = self._scratch_file(), packfile.new_hash()
            packer = Packer(number, file, blocks(), self._block_size, data_hash, budget)
            pack = packer.read(stream)
            packfile.seal(pack, data_hash)
            return pack

    def _find(self, name: str, number: int) -> Pack | None:
        path = self._cache.pack(name) if self._cache else None
        if path is None or self._cache is None or not self._cache.has(path):
            return None
        try:
            file = self._stack.enter_context(path.open("rb"))
            pack = packfile.load(file, number, self._block_size)
        except OSError:
            return None
        if pack is None:
            file.close()
            self._cache.forget(path)
        else:
            self._budget.take(sum(map(cost, pack.entries)), path.stat().st_size)
        return pack

    @contextlib.contextmanager
    def _reading(
        self, image: Image, layer: Layer, what: str, progress: Progress
    ) -> Iterator[LayerStream]:
        from toolkit.layers.stream import LayerStream

        with progress.task(what, layer.size) as advance, image.open_layer(layer) as blob:
            counted = cast(BinaryIO, io.BufferedReader(_Watched(blob, advance, self._stopped)))
            with LayerStream(counted, layer.diff_id) as stream:
                yield stream

    def _new_pack(self, name: str) -> tuple[int, Path] | None:
        """A file of the cache; None where there is none, or it cannot be written."""
        try:
            return self._cache.new_pack(name) if self._cache else None
        except OSError:
            return None

    def _make_cached(
        self,
        stream: LayerStream,
        name: str,
        number: int,
        blocks: BlockSource,
        budget: Budget,
        descriptor: int,
        path: Path,
    ) -> Pack:
        """Raises _CacheFull when the pack must be made elsewhere."""
        from toolkit.layers.packer import Packer

        assert self._cache is not None
        file = open(descriptor, "w+b")  # noqa: SIM115 - the stack closes it
        try:
            data_hash = packfile.new_hash()
            packer = Packer(number, file, blocks, self._block_size, data_hash, budget)
            try:
                pack = packer.read(stream)
                packfile.seal(pack, data_hash)
            except OSError:
                raise _CacheFull from None
        except BaseException:
            with contextlib.suppress(OSError):  # of what it could not write
                file.close()
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        if must_be_closed():
            self._stack.callback(self._keep, path, name)
        self._stack.enter_context(file)
        if not must_be_closed():
            self._keep(path, name)
        return pack

    def _keep(self, path: Path, name: str) -> None:
        assert self._cache is not None
        try:
            self._cache.keep(path, name)
        except OSError:  # a directory has its name: it is used all the same, but not kept
            with contextlib.suppress(OSError):
                path.unlink()

    def _scratch_file(self) -> BinaryIO:
        import tempfile

        try:
            file = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115 - the stack closes it
        except OSError as error:
            raise DockercError(
                f"cannot write into {self._scratch}: {error.strerror}; choose another output"
            ) from None
        return cast(BinaryIO, self._stack.enter_context(file))


def has_pack(cache: Cache | None, parameters: Parameters, layer: Layer) -> bool:
    """Whether a layer would not have to be read."""
    if cache is None or not cache.packs.is_dir():  # asking would make it
        return False
    return cache.has(cache.pack(_pack_name(parameters, layer)))


def _pack_name(parameters: Parameters, layer: Layer) -> str:
    import zstandard

    version, level = zstandard.ZSTD_VERSION, parameters.level
    packed = "none" if level is None else f"zstd{'.'.join(map(str, version))}-{level}"
    return f"{layer.diff_id.replace(':', '-')}-{parameters.block_size >> 10}k-{packed}"


def remote_name(parameters: Parameters, layer: Layer) -> str:
    """What a pack is found by in a remote cache: all that decides its bytes."""
    return f"{_pack_name(parameters, layer)}-{packfile.MAGIC.decode()}"


def _within_bounds(packs: list[Pack]) -> list[Pack]:
    if sum(len(pack.sizes) for pack in packs) > MAX_BLOCKS:
        raise RefusedError(
            f"its files have more than {MAX_BLOCKS} blocks; a larger --block-size makes fewer"
        )
    return packs


class _CacheFull(Exception):
    """The cache took a part of a pack only."""


class _Watched(io.RawIOBase):
    """A blob that tells how far it was read, and ends when the build has failed elsewhere."""

    def __init__(
        self, blob: BinaryIO, advance: Callable[[int], None], stopped: threading.Event
    ) -> None:
        self._blob, self._advance, self._stopped = blob, advance, stopped

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if self._stopped.is_set():
            raise DockercError("the build was stopped")
        data = self._blob.read(len(buffer))
        buffer[: len(data)] = data
        self._advance(len(data))
        return len(data)
