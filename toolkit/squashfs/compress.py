"""Squashfs blocks, compressed by a pool of threads and written in the order they were given."""

from __future__ import annotations

import os
import threading
from array import array
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from toolkit.squashfs.structs import DATA_UNCOMPRESSED

if TYPE_CHECKING:
    import zstandard

SPARSE_BLOCK = 0
"""The size word of a block of zeros: it has no bytes in the file."""


class Compressor:
    """zstd in as many threads as there are cores; zstandard frees the interpreter's lock.

    `level` None stores every block as it is; `block_size` in bytes is that of most blocks, where
    they are files' data.
    """

    def __init__(self, level: int | None, block_size: int | None = None) -> None:
        self.level = level
        self._block_size = block_size
        self.threads = (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else (os.cpu_count() or 1)
        )
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="compress")

    def __enter__(self) -> Compressor:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def compress(self, block: bytes) -> bytes:
        """The block as a zstd frame, or as it is."""
        return block if self.level is None else self._own(self.level).compress(block)

    def submit(self, block: bytes) -> Future[bytes]:
        """The same, in a thread of the pool."""
        return self._pool.submit(self.compress, block)

    def run(self, work: Callable[[], bytes]) -> Future[bytes]:
        """Anything else that makes a block, in a thread of the pool."""
        return self._pool.submit(work)

    def _own(self, level: int) -> zstandard.ZstdCompressor:
        try:
            return self._local.compressor  # type: ignore[no-any-return]
        except AttributeError:
            self._local.compressor = _zstd(level, self._block_size)
            return self._local.compressor  # type: ignore[no-any-return]


def _zstd(level: int, block_size: int | None) -> zstandard.ZstdCompressor:
    """A compressor of that level which, for data, also looks for matches of four bytes.

    In blocks of more than 256 KiB zstd's middle levels look for longer ones only, which costs
    programs 2 percent and saves less than a tenth of a build's time (docs/compression.md).
    """
    import zstandard

    if block_size is None:
        return zstandard.ZstdCompressor(level=level)
    parameters = zstandard.ZstdCompressionParameters.from_level(level, source_size=block_size)
    if zstandard.STRATEGY_LAZY <= parameters.strategy <= zstandard.STRATEGY_BTLAZY2:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level, source_size=block_size, min_match=4
        )
    return zstandard.ZstdCompressor(compression_params=parameters)


def is_hole(block: bytes) -> bool:
    """Whether these bytes, at least one, are all zeros; mostly the first one tells."""
    return not block[0] and block.count(0) == len(block)


class BlockSource(Protocol):
    """What makes compressed blocks of blocks: a Compressor, or one that knows them already."""

    threads: int

    def submit(self, block: bytes) -> Future[bytes]: ...


class BlockWriter:
    """Appends blocks to a file, compressing in parallel; memory is bounded by those in flight.

    `data_hash`, a hashlib object, sees what is written. `sizes[i]` is the size word of block i as
    squashfs stores it (bit 24: stored uncompressed).
    """

    def __init__(self, file: BinaryIO, compressor: BlockSource, data_hash: Any = None) -> None:
        self.sizes = array("I")
        self._file = file
        self._compressor = compressor
        self._hash = data_hash
        self._in_flight: deque[tuple[int, bytes, Future[bytes]]] = deque()
        self._limit = 2 * compressor.threads + 2

    def add_holes(self, count: int) -> None:
        """So many sparse blocks."""
        self.sizes.frombytes(bytes(count * self.sizes.itemsize))

    def add(self, block: bytes) -> int:
        """Queue a block, which becomes a sparse one if it is all zeros; returns its number."""
        number = len(self.sizes)
        self.sizes.append(SPARSE_BLOCK)
        if not is_hole(block):
            if len(self._in_flight) >= self._limit:
                self._retire()
            self._in_flight.append((number, block, self._compressor.submit(block)))
        return number

    def flush(self) -> None:
        """Wait for every block and write it."""
        while self._in_flight:
            self._retire()

    def _retire(self) -> None:
        number, block, future = self._in_flight.popleft()
        compressed = future.result()
        self.sizes[number] = len(compressed)
        if len(compressed) >= len(block):
            compressed = block
            self.sizes[number] = len(block) | DATA_UNCOMPRESSED
        self._file.write(compressed)
        if self._hash is not None:
            self._hash.update(compressed)
