"""A layer's tar as a stream: fetched, decompressed and hashed in a thread of its own.

gzip is the dearest step after compression, so it runs ahead of the parser; isal-l decodes it two
to four times as fast as zlib and lets go of the interpreter lock meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, BinaryIO, cast

from toolkit.errors import DamagedError, RefusedError

_COMPRESSED_CHUNK = 256 << 10
_CHUNK = 1 << 20
_CHUNKS_AHEAD = 8
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BZIP2_MAGIC = b"BZh"
_XZ_MAGIC = b"\xfd7zXZ\x00"
_XZ_MEMORY = 128 << 20
"""Bytes; xz -9 needs 65 MiB. One layer at a time has them, as with zstd's window."""
_SKIPPABLE_MAGIC = b"\x2a\x4d\x18"
"""Bytes 1-3 of a zstd skippable frame (RFC 8878 3.1.2), which may come first."""
_ZSTD_WINDOW = 16 << 20
"""Bytes; level 19 needs half of it."""
_LARGEST_ZSTD_WINDOW = 128 << 20
_large_window = threading.Lock()
"""Held by the one layer that may have a larger window, of those that are read at once."""
_FREE_SIZE = 16 << 30
_MAX_RATIO = 1100
"""gzip cannot expand more than 1032 times; what zstd makes of zeros is allowed up to _FREE_SIZE."""


class LayerStream:
    """The uncompressed tar of one layer, read ahead and checked against its diff-id.

    A context manager; `read` and `skip` serve a TarReader, `finish` reads what follows the
    archive's end and raises DockercError unless the digest of everything is `diff_id`.
    """

    def __init__(self, compressed: BinaryIO, diff_id: str) -> None:
        self._compressed = _Counted(compressed)
        self._diff_id = diff_id
        self._hash = hashlib.new(diff_id.partition(":")[0])
        self._chunks: queue.Queue[bytes | BaseException | None] = queue.Queue(_CHUNKS_AHEAD)
        self._stopped = threading.Event()
        self._current = memoryview(b"")
        self._ended = False
        self._thread = threading.Thread(target=self._produce, name="layer", daemon=True)

    def __enter__(self) -> LayerStream:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    @property
    def stored(self) -> int:
        """Bytes read so far of the layer as it is stored."""
        return self._compressed.count

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; raises DockercError at an early end."""
        if size <= len(self._current):
            piece = bytes(self._current[:size])
            self._current = self._current[size:]
            return piece
        pieces = [self._current]
        missing = size - len(self._current)
        while missing:
            self._refill()
            pieces.append(self._current[:missing])
            self._current = self._current[missing:]
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Drop exactly `size` bytes."""
        while size > len(self._current):
            size -= len(self._current)
            self._refill()
        self._current = self._current[size:]

    def discard(self, size: int) -> None:
        """Drop `size` bytes, or what is left of them before the end."""
        while size > len(self._current) and not self._ended:
            size -= len(self._current)
            self._next_chunk()
        self._current = self._current[size:]

    def at_end(self) -> bool:
        """Whether nothing is left to read."""
        while not self._current and not self._ended:
            self._next_chunk()
        return not self._current

    def finish(self) -> None:
        """Read to the end and compare the digest; what follows the archive is ignored."""
        while not self._ended:
            self._next_chunk()
        found = f"{self._hash.name}:{self._hash.hexdigest()}"
        if found != self._diff_id:
            raise DamagedError(
                f"the uncompressed layer is {found} where the image's config says {self._diff_id}:"
                " the image is damaged"
            )

    def _refill(self) -> None:
        self._next_chunk()
        if self._ended:
            raise DamagedError("its tar ends in the middle of an entry: the layer is cut short")

    def _next_chunk(self) -> None:
        chunk = None if self._ended else self._chunks.get()
        if isinstance(chunk, BaseException):
            self._ended = True
            raise chunk
        self._ended = chunk is None
        self._current = memoryview(chunk or b"")

    def _produce(self) -> None:
        last: BaseException | None = None
        try:
            source = self._compressed
            total = 0
            for chunk in _decompressed(cast(BinaryIO, source)):
                total += len(chunk)
                if total > _FREE_SIZE and total > _MAX_RATIO * source.count:
                    raise RefusedError(
                        f"{source.count} bytes of it expand to over {total}: taken for an attack"
                    )
                self._hash.update(chunk)
                if not self._put(chunk):
                    return
        except BaseException as error:  # handed to the reader, whose thread it concerns
            last = error
        self._put(last)

    def _put(self, item: bytes | BaseException | None) -> bool:
        """Hand over; False when nobody reads any more."""
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._chunks.put(item, timeout=0.1)
                return True
        return False


class _Counted:
    """A stream that knows how much of it was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data


def _decompressed(file: BinaryIO) -> Iterator[bytes]:
    """The layer's bytes by its magic, never by the media type, which may be wrong."""
    start = file.read(_COMPRESSED_CHUNK)
    if start[:2] == _GZIP_MAGIC:
        return _gunzip(start, file)
    if start[:4] == _ZSTD_MAGIC or (start[1:4] == _SKIPPABLE_MAGIC and start[0] & 0xF0 == 0x50):
        return _unzstd(start, file)
    if start[:3] == _BZIP2_MAGIC or start[:6] == _XZ_MAGIC:
        return _unpack_slowly(start, file)
    return _plain(start, file)


def _plain(chunk: bytes, file: BinaryIO) -> Iterator[bytes]:
    while chunk:
        yield chunk
        chunk = file.read(_CHUNK)


def _gunzip(data: bytes, file: BinaryIO) -> Iterator[bytes]:
    """Members one after the other (RFC 1952 2.2), each chunk bounded whatever the ratio."""
    zlib = _zlib()
    member = zlib.decompressobj(wbits=31)
    try:
        while True:
            chunk = member.decompress(data, _CHUNK)
            if chunk:
                yield chunk
            if member.eof:
                data = member.unused_data or file.read(_COMPRESSED_CHUNK)
                if data[:2] != _GZIP_MAGIC[: len(data)] or not data:
                    break  # zeros may pad a gzip file on tape; gzip ignores them too
                member = zlib.decompressobj(wbits=31)
                continue
            data = member.unconsumed_tail
            if not data and len(chunk) < _CHUNK:
                data = file.read(_COMPRESSED_CHUNK)
                if not data:
                    raise DamagedError("a gzip layer is cut short")
    except zlib.error as problem:
        raise DamagedError(f"a gzip layer is damaged: {problem}") from None
    while file.read(_COMPRESSED_CHUNK):
        pass  # to the end, where the blob checks its digest


def _unpack_slowly(data: bytes, file: BinaryIO) -> Iterator[bytes]:
    """bzip2 and xz, which docker and podman take: streams one after the other."""
    import bz2
    import lzma

    is_xz = data[:6] == _XZ_MAGIC
    kind = "xz" if is_xz else "bzip2"
    try:
        with _large_window if is_xz else contextlib.nullcontext():
            while data:
                member: Any = (
                    lzma.LZMADecompressor(memlimit=_XZ_MEMORY) if is_xz else bz2.BZ2Decompressor()
                )
                while not member.eof:
                    if member.needs_input and not data:
                        data = file.read(_COMPRESSED_CHUNK)
                        if not data:
                            raise DamagedError(f"a layer of {kind} is cut short")
                    chunk = member.decompress(data, _CHUNK)
                    data = b""
                    if chunk:
                        yield chunk
                # Zeros may pad a stream of xz (the .xz file format, 2.2).
                data = member.unused_data.lstrip(b"\0")
                data = data or file.read(_COMPRESSED_CHUNK).lstrip(b"\0")
    except (OSError, lzma.LZMAError) as problem:
        raise DamagedError(f"a layer of {kind} is damaged: {problem}") from None


def _zlib() -> Any:
    """isal-l where it has a wheel for this processor; its module has zlib's interface."""
    try:
        from isal import isal_zlib

        return isal_zlib
    except ImportError:
        import zlib

        return zlib


def _unzstd(data: bytes, file: BinaryIO) -> Iterator[bytes]:
    import zstandard

    joined = cast(BinaryIO, _Joined(data, file))
    try:
        parameters = zstandard.get_frame_parameters(data)
        is_large = not 0 < parameters.window_size <= _ZSTD_WINDOW
        with _large_window if is_large else contextlib.nullcontext():
            size = _LARGEST_ZSTD_WINDOW if is_large else _ZSTD_WINDOW
            decompressor = zstandard.ZstdDecompressor(max_window_size=size)
            with decompressor.stream_reader(joined, read_across_frames=True) as reader:
                while chunk := reader.read(_CHUNK):
                    yield chunk
    except zstandard.ZstdError as problem:
        raise DamagedError(f"a zstd layer is damaged: {problem}") from None


class _Joined:
    """A stream whose first bytes were read already."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start, self._rest = start, rest

    def read(self, size: int) -> bytes:
        if self._start:
            piece, self._start = self._start[:size], self._start[size:]
            return piece
        return self._rest.read(size)
