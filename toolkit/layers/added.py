"""Files of the builder's machine as one more layer: `dockerc build --add-file`."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import AbsentError, DockercError, UnsupportedError, UsageError
from toolkit.squashfs.tree import Inode, look_up


@dataclass(frozen=True)
class AddedFile:
    """A file or directory, and the absolute path that it gets in the image."""

    source: Path
    target: str


def parse_added(text: str) -> AddedFile:
    """Reads SRC:DST; behind a DST that ends in a slash comes the source's name, as with cp.

    Raises UsageError when it is not that.
    """
    source, colon, target = text.rpartition(":")
    if not colon or not source or not target.startswith("/"):
        raise UsageError(f"--add-file {text}: write SOURCE:/DESTINATION")
    if target.endswith("/"):
        name = Path(source).name
        target += name if name not in ("", "..") else Path(source).resolve().name
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise UsageError(f"--add-file {text}: the destination must be below /, and without '..'")
    return AddedFile(Path(source), "/".join(parts))


def write_layer(files: Iterable[AddedFile], tree: Inode, tar: BinaryIO) -> None:
    """Write the tar of a layer for an image whose files are `tree`; raises DockercError.

    As docker's COPY has it, all is root's, with the modes and times of the sources. Links stay
    links, but a source that is one is what it leads to.
    """
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for added in files:
            try:
                top = added.source.stat()
                existing = look_up(tree, os.fsencode(added.target))
                is_merged = existing is not None and existing.children is not None
                if not (stat.S_ISDIR(top.st_mode) and is_merged):
                    _add(archive, added.source, added.target, top)
                if stat.S_ISDIR(top.st_mode):
                    for path, name in _below(added.source, added.target):
                        _add(archive, path, name, path.lstat())
            except FileNotFoundError as error:
                raise AbsentError(f"--add-file: {error.filename} does not exist") from None
            except OSError as error:
                where = error.filename or added.source
                raise DockercError(
                    f"--add-file: cannot read {where}: {error.strerror or error}"
                ) from None


def _below(directory: Path, target: str) -> Iterator[tuple[Path, str]]:
    """All in a directory and its name in the image, in an order that does not change."""
    for path in sorted(directory.iterdir()):
        name = f"{target}/{path.name}"
        yield path, name
        if path.is_dir() and not path.is_symlink():
            yield from _below(path, name)


def _add(archive: tarfile.TarFile, path: Path, name: str, status: os.stat_result) -> None:
    if any(part.startswith(".wh.") for part in name.split("/")):
        raise UnsupportedError(f"--add-file: {path}: in a layer, .wh. before a name removes a file")
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    if stat.S_ISREG(status.st_mode):
        member.size = status.st_size
        with path.open("rb") as file:
            archive.addfile(member, file)
        return
    if stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
    else:
        raise UnsupportedError(f"--add-file: {path} is no file, directory or symbolic link")
    archive.addfile(member)
