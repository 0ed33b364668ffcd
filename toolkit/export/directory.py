"""The tree of a payload as a directory: as root with owners and devices, as a user without.

Nothing is ever written through a name that was not made here: names have no slashes, each is in
its directory once, and every directory on the way was created a moment before.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path

from toolkit.export.room import check_room
from toolkit.squashfs.filesystem import Filesystem
from toolkit.squashfs.nodes import Node
from toolkit.squashfs.structs import InodeType, Place

_DEVICE_TYPES = {InodeType.BLOCK_DEVICE: stat.S_IFBLK, InodeType.CHAR_DEVICE: stat.S_IFCHR}


def write_tree(filesystem: Filesystem, top: Node, directory: Path) -> Counter[str]:
    """Fill an empty directory with what is in `top`, and give it `top`'s own attributes.

    Returns what could not be kept, by kind. Raises DockercError when the disk has no room for it,
    OSError for what else fails.
    """
    _check_room(filesystem, top, directory)
    writer = _Writer(filesystem)
    base = os.fsencode(directory)
    directories = []
    for path, node in filesystem.walk(top):
        full = base + b"/" * bool(path) + path
        if node.is_directory:
            if path:
                os.mkdir(full, 0o700)  # noqa: PTH102 - bytes
            directories.append((full, node))
        else:
            writer.write(full, node)
    # Deepest first, and when all is there: writing into a directory changes its time.
    for full, node in reversed(directories):
        writer.describe(full, node)
    return writer.left_out


def _check_room(filesystem: Filesystem, top: Node, directory: Path) -> None:
    """Raise DockercError where what is not a hole does not fit."""
    block_size = filesystem.superblock.block_size
    needed, seen = 0, set()
    for _, node in filesystem.walk(top):
        if node.is_file and node.place not in seen:
            seen.add(node.place)
            needed += sum(block_size for word in filesystem.words(node) if word)
            needed += node.size % block_size
    check_room("its files", needed, directory.parent)


class _Writer:
    def __init__(self, filesystem: Filesystem) -> None:
        self.left_out: Counter[str] = Counter()
        self._filesystem = filesystem
        self._as_root = os.geteuid() == 0
        self._linked: dict[Place, bytes] = {}

    def write(self, path: bytes, node: Node) -> None:
        """Anything but a directory."""
        if node.nlink > 1:
            first = self._linked.setdefault(node.place, path)
            if first is not path:
                os.link(first, path, follow_symlinks=False)
                return
        if node.is_file:
            self._write_file(path, node)
        elif node.kind is InodeType.SYMLINK:
            os.symlink(node.target, path)  # noqa: PTH211 - bytes
        elif node.kind is InodeType.FIFO:
            os.mkfifo(path)
        elif node.kind in _DEVICE_TYPES and self._as_root:
            os.mknod(path, 0o600 | _DEVICE_TYPES[node.kind], os.makedev(*node.device))
        else:
            self._linked.pop(node.place, None)
            self.left_out["devices and sockets"] += 1
            return
        self.describe(path, node)

    def _write_file(self, path: bytes, node: Node) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "wb", buffering=0) as file:
            for chunk in self._filesystem.content(node):
                if chunk.data is None:
                    file.seek(chunk.size, os.SEEK_CUR)
                else:
                    file.write(chunk.data)
            file.truncate(node.size)

    def describe(self, path: bytes, node: Node) -> None:
        """Owner, attributes, mode and time, in the order in which the kernel forgets none."""
        if self._as_root:
            os.chown(path, node.uid, node.gid, follow_symlinks=False)
        elif node.uid or node.gid:
            self.left_out["owners"] += 1
        for name, value in self._filesystem.xattrs(node):
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError:
                shown = name.decode("utf-8", "backslashreplace")
                self.left_out[f"extended attributes {shown}"] += 1
        if node.kind is not InodeType.SYMLINK:
            os.chmod(path, node.mode)  # noqa: PTH101 - bytes
        os.utime(path, (node.mtime, node.mtime), follow_symlinks=False)
