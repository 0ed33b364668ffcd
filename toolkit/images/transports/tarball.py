"""Random access to the members of a tar, in place: nothing is unpacked."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import posixpath
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from toolkit.errors import AbsentError, DamagedError, DockercError, RefusedError, about
from toolkit.files.anonymous_file import temporary_file
from toolkit.files.disk_space import free_bytes
from toolkit.layers.tar import HARD_LINK, REGULAR, SYMLINK, TarReader
from toolkit.limits import MAX_DOCUMENT

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MEMBER_LIMIT = 100_000
_LINK_LIMIT = 8
_NAMES_LIMIT = 32 << 20
"""Bytes of all names and links."""
_PIECE = 1 << 20
_XZ_MEMORY = 128 << 20
"""Bytes; xz -9 needs 65 MiB."""
_ZSTD_WINDOW = 128 << 20
"""Bytes; what zstd asks for with --long, and decodes unasked."""
_SPARE_ROOM = 64 << 20
"""Bytes that stay free where an archive is unpacked, for others."""
_FREE_SIZE = 256 << 20
_MAX_RATIO = 100
"""What xz makes of an image is a twentieth at the best; of zeros, a seven-thousandth."""


@dataclass(frozen=True)
class _Member:
    offset: int
    size: int


class _Window(io.RawIOBase):
    """A part of a shared file. The lock makes seek and read one step among threads."""

    def __init__(self, file: BinaryIO, lock: threading.Lock, member: _Member) -> None:
        self._file = file
        self._lock = lock
        self._position = member.offset
        self._end = member.offset + member.size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")[: self._end - self._position]
        with self._lock:
            self._file.seek(self._position)
            count = cast(io.BufferedReader, self._file).readinto(view)
        self._position += count
        return count


class _Stream:
    """What a TarReader reads of a file; what it skips is not read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.position = 0
        file.seek(0)

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        self._file.seek(self.position)
        data = self._file.read(size)
        if len(data) != size:
            raise DamagedError("it is truncated in the middle of an entry")
        self.position += size
        return data

    @property
    def stored(self) -> int:
        """Where it stands in the file."""
        return self.position

    def skip(self, size: int) -> None:
        """Go on behind so many bytes."""
        self.position = min(self.position + size, self._size)

    discard = skip

    def at_end(self) -> bool:
        """Whether nothing is left; an empty file is no archive."""
        return 0 < self.position == self._size


class Tarball:
    """The regular files of a tar by normalised name; links are followed inside it."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file = file
        self._path = path
        self._lock = threading.Lock()
        self._files: dict[str, _Member] = {}
        self._links: dict[str, str] = {}
        try:
            self._scan()
        except OSError as error:
            raise DockercError(f"cannot read {path}: {error.strerror or error}") from None

    def _scan(self) -> None:
        size = self._file.seek(0, io.SEEK_END)
        stream = _Stream(self._file, size)
        names = 0
        with about(f"{self._path} is not a readable tar archive"):
            for count, entry in enumerate(TarReader(stream)):
                names += len(entry.name) + len(entry.link)
                if count >= _MEMBER_LIMIT or names > _NAMES_LIMIT:
                    raise RefusedError(f"it has more than {_MEMBER_LIMIT} members, or long names")
                name = posixpath.normpath(_text(entry.name))
                if entry.type == REGULAR and entry.segments is None:
                    if stream.position + entry.size > size:
                        raise DamagedError(f"it is truncated: '{name[:200]}' ends beyond the file")
                    self._files[name] = _Member(stream.position, entry.size)
                elif entry.type == HARD_LINK:
                    self._links[name] = posixpath.normpath(_text(entry.link))
                elif entry.type == SYMLINK:
                    target = posixpath.join(posixpath.dirname(name), _text(entry.link))
                    self._links[name] = posixpath.normpath(target)

    def names(self) -> list[str]:
        """The regular files, links to them left out."""
        return list(self._files)

    def _find(self, name: str) -> _Member | None:
        name = posixpath.normpath(name)
        for _ in range(_LINK_LIMIT):
            if name in self._files:
                return self._files[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    def size(self, name: str) -> int | None:
        """A file's size in bytes, or None when the archive has no such file."""
        member = self._find(name)
        return member.size if member else None

    def open(self, name: str) -> io.RawIOBase:
        """A file's bytes. Raises DockercError when the archive has no such file."""
        member = self._find(name)
        if member is None:
            raise AbsentError(f"{self._path} lacks '{name}'")
        return _Window(self._file, self._lock, member)

    def read(self, name: str) -> bytes:
        """A whole document. Raises DockercError when it is absent or unreasonably large."""
        member = self._find(name)
        if member and member.size > MAX_DOCUMENT:
            raise RefusedError(
                f"'{name}' in {self._path} has {member.size} bytes; at most {MAX_DOCUMENT} are read"
            )
        with self.open(name) as file:
            return file.read()


@contextmanager
def open_tarball(path: str) -> Iterator[Tarball]:
    """Opens a tar, compressed or not, or a pipe of one.

    What cannot be read at random (`docker save | gzip`, /dev/stdin) goes through an unnamed
    temporary file. Raises DockercError when the file cannot be opened or is no tar.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(path).open("rb"))
        except OSError as error:
            raise DockercError(f"cannot open {path}: {error.strerror or error}") from error
        yield stack.enter_context(read_tarball(file, path))


@contextmanager
def read_tarball(file: io.BufferedReader[Any], path: str) -> Iterator[Tarball]:
    """The same of an open file; `path` is what errors call it."""
    head = file.peek(8)
    unpack = next((u for magic, u in _UNPACKERS.items() if head.startswith(magic)), None)
    if unpack is None and file.seekable():
        yield Tarball(file, path)
        return
    with temporary_file() as plain:
        packed = cast(BinaryIO, file)
        _unpack((unpack or _plain)(packed), packed, plain, path)
        yield Tarball(plain, path)


def _unpack(pieces: Iterator[bytes], packed: BinaryIO, plain: BinaryIO, path: str) -> None:
    """Write the pieces to `plain`, as many as their source can account for."""
    total = 0
    try:
        room = free_bytes(plain.name) - _SPARE_ROOM
        for piece in pieces:
            total += len(piece)
            if total > room:
                raise RefusedError(
                    f"there is no room to unpack {path}; TMPDIR names another place for it"
                )
            # Where the source is a pipe of a plain tar, it grows no faster than what is read.
            if packed.seekable() and total > _FREE_SIZE + _MAX_RATIO * packed.tell():
                raise RefusedError(
                    f"{packed.tell()} bytes of {path} expand to over {total}: taken for an attack"
                )
            plain.write(piece)
        plain.flush()
    except OSError as error:
        if error.errno is None:
            raise DockercError(f"cannot read {path}: {error}") from None
        raise DockercError(
            f"cannot unpack {path}: {error.strerror}; TMPDIR names another place for it"
        ) from None
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise DockercError(f"cannot read {path}: {error}") from None


def _plain(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    return _plain(cast(BinaryIO, gzip.GzipFile(fileobj=file)))


def _bzip2(file: BinaryIO) -> Iterator[bytes]:
    return _plain(cast(BinaryIO, bz2.BZ2File(file)))


def _xz(file: BinaryIO) -> Iterator[bytes]:
    """Streams one after the other, in bounded memory: a header may ask for four gigabytes."""
    data = file.read(_PIECE)
    while data:
        decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
        while not decompressor.eof:
            if piece := decompressor.decompress(data, _PIECE):
                yield piece
            data = b""
            if decompressor.needs_input and not decompressor.eof:
                data = file.read(_PIECE)
                if not data:
                    raise EOFError("the compressed archive is cut short")
        # Zeros may pad a stream to a multiple of four bytes (the .xz file format, 2.2).
        data = decompressor.unused_data.lstrip(b"\0") or file.read(_PIECE).lstrip(b"\0")


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    try:
        with decompressor.stream_reader(file, read_across_frames=True, closefd=False) as reader:
            while piece := reader.read(_PIECE):
                yield piece
    except zstandard.ZstdError as error:
        raise EOFError(str(error)) from None


class _Unpacked(io.RawIOBase):
    """A stream of pieces as a file to read from."""

    def __init__(self, pieces: Iterator[bytes], where: str) -> None:
        self._pieces, self._where = pieces, where
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        if not self._left:
            try:
                self._left = memoryview(next(self._pieces, b""))
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                raise DamagedError(f"cannot read {self._where}: {error}") from None
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def is_packed(head: bytes) -> bool:
    """Whether a file that begins so is compressed; its first eight bytes are enough."""
    return any(map(head.startswith, _UNPACKERS))


def unpacked(file: io.BufferedReader[Any], where: str) -> io.BufferedReader:
    """What a file of any kind is when it is decompressed; DockercError while it is read."""
    head = file.peek(8)
    unpack = next((u for magic, u in _UNPACKERS.items() if head.startswith(magic)), _plain)
    return io.BufferedReader(_Unpacked(unpack(cast(BinaryIO, file)), where))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


_UNPACKERS: dict[bytes, Callable[[BinaryIO], Iterator[bytes]]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": _bzip2,
    b"\xfd7zXZ\x00": _xz,
    b"\x28\xb5\x2f\xfd": _zstd,
}
