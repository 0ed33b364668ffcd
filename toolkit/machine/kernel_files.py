"""The directory lib/modules/RELEASE of a kernel: on this machine, or in a tar."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from toolkit.errors import DockercError, RefusedError
from toolkit.files.regular import read_regular
from toolkit.images.transports.tarball import Tarball

MAX_FILES = 50_000
"""Files of a kernel's directory; Debian's generic kernel has 4500."""
_MAX_DEPTH = 20
ROOTS = ("lib/modules", "usr/lib/modules")
"""Where distributions have a kernel's modules."""


class ModuleFiles(Protocol):
    """The files below lib/modules/RELEASE, named from there, with `/`."""

    def names(self) -> Iterator[str]: ...

    def read(self, name: str, most: int) -> bytes:
        """A whole file; raises DockercError, also where it has more than `most` bytes."""


class DirectoryFiles:
    """Those of a directory; symlinks, as to the kernel's source, are not followed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> Iterator[str]:
        waiting, count = [("", 0)], 0
        while waiting:
            inside, depth = waiting.pop()
            try:
                with os.scandir(self._directory / inside) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                raise DockercError(
                    f"cannot read {self._directory / inside}: {error.strerror}"
                ) from None
            for entry in listed:
                count += 1
                if count > MAX_FILES:
                    raise RefusedError(f"{self._directory} has more than {MAX_FILES} files")
                name = posixpath.join(inside, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    if depth < _MAX_DEPTH:
                        waiting.append((name, depth + 1))
                elif entry.is_file(follow_symlinks=False):
                    yield name

    def read(self, name: str, most: int) -> bytes:
        try:
            return read_regular(self._directory / name, most, "file of a kernel's modules")
        except DockercError as error:
            raise type(error)(f"{self._directory / name}: {error}") from None


class ArchiveFiles:
    """Those of a tar, below `prefix`."""

    def __init__(self, archive: Tarball, prefix: str, where: str) -> None:
        self._archive, self._prefix, self._where = archive, f"{prefix}/", where

    def names(self) -> Iterator[str]:
        for name in self._archive.names():
            if name.startswith(self._prefix):
                yield name[len(self._prefix) :]

    def read(self, name: str, most: int) -> bytes:
        return read_member(self._archive, self._prefix + name, most, self._where)


def read_member(archive: Tarball, name: str, most: int, where: str) -> bytes:
    """A whole file of a tar; raises DockercError, also where it has more than `most` bytes."""
    with archive.open(name) as file:
        data = bytearray()
        while len(data) <= most and (piece := file.read(min(1 << 20, most + 1 - len(data)))):
            data += piece
    if len(data) > most:
        raise RefusedError(f"{where}: {name} has more than {most >> 20} MiB")
    return bytes(data)


def modules_of(archive: Tarball, release: str, where: str) -> ArchiveFiles | None:
    """The modules of this release in a tar; None where it has none."""
    for root in ROOTS:
        files = ArchiveFiles(archive, f"{root}/{release}", where)
        if next(files.names(), None) is not None:
            return files
    return None
