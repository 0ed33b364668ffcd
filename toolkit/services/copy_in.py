"""Files of this machine into an executable: `docker cp SRC CONTAINER:PATH`, into a new file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from toolkit.bundle.start_list import NAME as START_LIST
from toolkit.bundle.start_list import renumbered
from toolkit.errors import AbsentError, DockercError, RefusedError, UnsupportedError
from toolkit.executable.executable import (
    Executable,
    FooterFields,
    open_executable,
    write_executable,
)
from toolkit.executable.integrity import Integrity
from toolkit.executable.payload import config_text, filesystem_of
from toolkit.files.printable import show
from toolkit.files.regular import open_regular
from toolkit.limits import MAX_DEPTH, MAX_FILE_SIZE, MAX_PATH
from toolkit.services.pack_layers import Parameters
from toolkit.services.start_lists import start_list_of
from toolkit.squashfs.read.lookup import reading
from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.tree import Inode, look_up
from toolkit.squashfs.write.inodes import inode_numbers
from toolkit.squashfs.write.rewrite import Write, rewrite

_MAX_TIME = 0xFFFFFFFF
_MAX_LINKS = 40
"""As many as the kernel follows in one path (path_resolution(7))."""


def copy_in(source: str, app: Path, path: str, new: Path) -> None:
    """Write `new`: the executable `app` with a file or directory at `path` of its image.

    As with docker: into `path` if that is a directory, where one of the same name gets it too;
    `source/.` is what is in a directory. What is copied is root's. Raises DockercError when that
    cannot be, or the payload is damaged.
    """
    with open_executable(app) as executable, reading(str(app)):
        level = Parameters().level
        assert level is not None

        start_list = start_list_of(filesystem_of(executable))

        def change(root: Inode, write: Write) -> None:
            before = inode_numbers(root) if start_list else {}
            _place(root, source, path, _Reader(executable, write))
            if start_list:
                assert root.children is not None
                inodes = {number: inode for inode, number in before.items()}
                data = renumbered(start_list, inodes, inode_numbers(root))
                write(root.children[START_LIST], _cut(data, executable.superblock.block_size))

        def write_payload(file: BinaryIO) -> FooterFields:
            rewrite(
                filesystem_of(executable),
                executable.file,
                executable.footer.offset,
                change,
                file,
                level=level,
            )
            integrity = Integrity(config_text(executable), executable.stub_version)
            return FooterFields(executable.footer.require_mapped_uids, integrity)

        write_executable(new, executable.whole_stub(), write_payload, source=executable.file)


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


class _Reader:
    """Makes inodes of what is on this machine, and has their data written."""

    def __init__(self, executable: Executable, write: Write) -> None:
        self._write, self._size = write, executable.superblock.block_size

    def inode(self, path: Path) -> Inode:
        """A file, symlink or directory with all that is in it; raises DockercError."""
        try:
            top = self._one(path)
            waiting = [(path, top)]
            while waiting:
                above, inode = waiting.pop()
                if inode.children is not None:
                    for child in sorted(above.iterdir()):
                        made = inode.children[os.fsencode(child.name)] = self._one(child)
                        waiting.append((child, made))
            return top
        except OSError as error:
            where = error.filename or path
            raise DockercError(f"{where}: cannot read it: {error.strerror}") from None

    def _one(self, path: Path) -> Inode:
        """The same without what is in a directory; raises OSError, too."""
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            inode = _described(InodeType.SYMLINK, status)
            inode.target = os.fsencode(path.readlink())
        elif stat.S_ISDIR(status.st_mode):
            inode = _described(InodeType.DIRECTORY, status)
            inode.children = {}
        elif stat.S_ISREG(status.st_mode):
            inode = _described(InodeType.FILE, status)
            with open(open_regular(path), "rb") as file:
                self._write(inode, _pieces(file, self._size, path))
        else:
            raise UnsupportedError(f"{path}: it is no file, directory or symlink")
        return inode


def _pieces(file: BinaryIO, size: int, path: Path) -> Iterator[bytes]:
    """The file's bytes, whole pieces but for the last, however much it has grown meanwhile."""
    left = MAX_FILE_SIZE
    while piece := file.read(size):
        left -= len(piece)
        if left < 0:
            raise RefusedError(f"{path}: no file of an image is as large")
        yield piece


def _described(kind: InodeType, status: os.stat_result) -> Inode:
    time = min(max(int(status.st_mtime), 0), _MAX_TIME)
    return Inode(kind, stat.S_IMODE(status.st_mode), mtime=time)


def _place(root: Inode, source: str, path: str, reader: _Reader) -> None:
    """Put the source into the tree; the image is in its directory rootfs."""
    top = (root.children or {}).get(b"rootfs")
    if top is None or top.children is None:
        raise AbsentError("its payload has no directory rootfs")
    _put_at(top, os.fsencode(path), source, reader)
    _check_depth(top)


def _put_at(top: Inode, wanted: bytes, source: str, reader: _Reader) -> None:
    """The same for a path of the image whose root is `top`."""
    path, there = show(wanted), look_up(top, wanted)
    is_content = Path(source).name in ("", ".") or source.endswith("/.")
    follows = is_content or source.endswith("/")
    made = reader.inode(Path(source).resolve() if follows else Path(source))
    if there is not None and there.children is not None:
        if is_content and made.children is not None:
            _merge(there, made)
        else:
            _put(there, os.fsencode(Path(os.path.abspath(source)).name), made)  # noqa: PTH100
        return
    if there is not None and made.children is not None:
        raise RefusedError(f"{path} is no directory of its image; no directory takes its place")
    directory, name = _last_of(top, wanted)
    if directory is None or (wanted.endswith(b"/") and made.children is None):
        raise AbsentError(f"its image has no directory for {path}")
    _put(directory, name, made)


def _last_of(top: Inode, path: bytes) -> tuple[Inode | None, bytes]:
    """The directory, None where there is none, and the name in it that a path leads to.

    As with cp(1), a symlink at the end is followed.
    """
    for _ in range(_MAX_LINKS):
        above, _, name = path.rstrip(b"/").rpartition(b"/")
        directory = look_up(top, above)
        if directory is None or directory.children is None or name in (b"", b".", b".."):
            return None, name
        link = directory.children.get(name)
        if link is None or link.kind is not InodeType.SYMLINK:
            return directory, name
        path = link.target if link.target.startswith(b"/") else above + b"/" + link.target
    return None, b""


def _put(directory: Inode, name: bytes, made: Inode) -> None:
    _merge(directory, Inode(InodeType.DIRECTORY, 0, children={name: made}))


def _merge(there: Inode, made: Inode) -> None:
    """Put what is in one directory into another, which keeps what it has beside that."""
    waiting = [(there.children, made.children)]
    while waiting:
        old, new = waiting.pop()
        assert old is not None and new is not None
        for name, child in new.items():
            if name not in old or old[name].children is None:
                old[name] = child
            elif child.children is None:
                raise RefusedError(
                    f"{show(name)} is a directory of its image; no file takes its place"
                )
            else:
                waiting.append((old[name].children, child.children))


def _check_depth(top: Inode) -> None:
    """Raise RefusedError for a tree that no reader would take."""
    waiting = [(top, 0, 0)]
    while waiting:
        inode, depth, length = waiting.pop()
        if depth > MAX_DEPTH or length > MAX_PATH:
            raise RefusedError("it would be too deep for an image")
        for name, child in (inode.children or {}).items():
            waiting.append((child, depth + (child.children is not None), length + 1 + len(name)))
