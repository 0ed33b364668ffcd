"""Random access to the members of a tar, in place: nothing is unpacked."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import posixpath
import shutil
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from toolkit.errors import DockercError
from toolkit.images.temporary import temporary_file
from toolkit.limits import MAX_DOCUMENT

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MEMBER_LIMIT = 100_000
_LINK_LIMIT = 8
_DECOMPRESSORS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


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


class Tarball:
    """The regular files of a tar by normalised name; links are followed inside it."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file = file
        self._path = path
        self._lock = threading.Lock()
        self._files: dict[str, _Member] = {}
        self._links: dict[str, str] = {}
        self._scan()

    def _scan(self) -> None:
        size = self._file.seek(0, io.SEEK_END)
        self._file.seek(0)
        position = -1
        count = 0
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                while member := tar.next():
                    count += 1
                    # A negative size would send tarfile backwards for ever (CVE-2025-8194).
                    if tar.offset <= position or count > _MEMBER_LIMIT:
                        raise DockercError(f"{self._path} is a malformed tar archive")
                    position = tar.offset
                    name = posixpath.normpath(member.name)
                    if member.isreg() and not member.issparse():
                        if member.size < 0 or member.offset_data + member.size > size:
                            raise DockercError(
                                f"{self._path} is truncated: '{name}' ends beyond the file"
                            )
                        self._files[name] = _Member(member.offset_data, member.size)
                    elif member.islnk():
                        self._links[name] = posixpath.normpath(member.linkname)
                    elif member.issym():
                        target = posixpath.join(posixpath.dirname(name), member.linkname)
                        self._links[name] = posixpath.normpath(target)
                    tar.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
        except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError) as error:
            raise DockercError(f"{self._path} is not a readable tar archive: {error}") from error

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
            raise DockercError(f"{self._path} lacks '{name}'")
        return _Window(self._file, self._lock, member)

    def read(self, name: str) -> bytes:
        """A whole document. Raises DockercError when it is absent or unreasonably large."""
        member = self._find(name)
        if member and member.size > MAX_DOCUMENT:
            raise DockercError(
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
        head = file.peek(8)
        unpack = next((u for magic, u in _DECOMPRESSORS.items() if head.startswith(magic)), None)
        if unpack is None and file.seekable():
            yield Tarball(file, path)
            return
        with temporary_file() as plain:
            try:
                shutil.copyfileobj(unpack(file) if unpack else file, plain, 1 << 20)
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                raise DockercError(f"cannot read {path}: {error}") from error
            yield Tarball(plain, path)
