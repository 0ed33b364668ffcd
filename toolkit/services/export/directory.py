"""The tree of a payload as a directory: as root with owners, as a user without.

Nothing is ever written through a path: every name is made in a directory that is held open, and
every directory on the way was created here a moment before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.files.disk_space import check_room
from toolkit.files.open_directory import OpenDirectory
from toolkit.files.user import change_owner, is_root
from toolkit.layers.notes import named
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.structs import InodeType, MetadataRef

_DEVICE_TYPES = {InodeType.BLOCK_DEVICE: stat.S_IFBLK, InodeType.CHAR_DEVICE: stat.S_IFCHR}
_SET_ID = stat.S_ISUID | stat.S_ISGID
_PRIVILEGED_XATTRS = b"security."
_HINT = "--privileged-files keeps them"
_REFUSED = "names that this system does not have, or does not tell from others"
_OF_NAMES = (errno.EILSEQ, errno.EINVAL, errno.EEXIST)
"""What filesystems answer to names that are no Unicode, that mean something else there, or that
differ from another one only in case."""


def write_tree(
    filesystem: Filesystem,
    top: Node,
    directory: OpenDirectory,
    *,
    privileged: bool,
    mode: int | None = None,
) -> Counter[str]:
    """Fill an empty open directory with what is in `top`, and give it `top`'s own attributes.

    Without `privileged` device nodes, set-id bits and attributes such as file capabilities are
    left out: they would give rights on this machine that the image alone decides on. `mode` takes
    the place of `top`'s own. Returns what could not be kept, by kind. Raises DockercError when the
    disk has no room for it, OSError for what else fails.
    """
    check_tree_room(filesystem, top, directory.target)
    writer = _Writer(filesystem, directory, privileged)
    try:
        for path, node in filesystem.walk(top):
            writer.put(path, node)
        writer.describe_directories(mode)
    finally:
        writer.close()
    return writer.left_out


def check_tree_room(filesystem: Filesystem, top: Node, place: int | Path) -> None:
    """Raise DockercError where what is not a hole does not fit: what the writer links counts once,
    and what it writes again counts again."""
    block_size = filesystem.superblock.block_size
    needed, linked = 0, set()
    for _, node in filesystem.walk(top):
        if not node.is_file:
            continue
        if node.nlink > 1:
            if node.place in linked:
                continue
            linked.add(node.place)
        needed += sum(block_size for word in filesystem.words(node) if word)
        needed += node.size % block_size
    check_room("its files", needed, place)


@dataclass(eq=False)
class _Directory:
    """A directory that was made: to be described at the end, deepest first."""

    name: str
    node: Node
    parent: _Directory | None
    inner: list[_Directory] = field(default_factory=list)

    @property
    def path(self) -> str:
        """From the top."""
        names, at = [], self
        while at.parent is not None:
            names.append(at.name)
            at = at.parent
        return "/".join(reversed(names))


class _Writer:
    """Makes names in one open directory at a time; trees are deeper than descriptors are many."""

    def __init__(self, filesystem: Filesystem, top: OpenDirectory, privileged: bool) -> None:
        self.left_out: Counter[str] = Counter()
        self._filesystem, self._privileged = filesystem, privileged
        self._as_root = is_root()
        self._linked: dict[MetadataRef, tuple[_Directory, str]] = {}
        self._top, self._open = top, top.copy()
        self._path = b""
        self._at: _Directory | None = None
        self._refused: bytes | None = None

    def close(self) -> None:
        self._open.close()

    def put(self, path: bytes, node: Node) -> None:
        """Anything of the tree; the first is the top, which is there already."""
        parent, _, name = path.rpartition(b"/")
        if self._refused is not None and path.startswith(self._refused):
            self.left_out[_REFUSED] += 1
            return
        try:
            if node.is_directory:
                self._make_directory(parent, name, node)
            else:
                self._write(parent, os.fsdecode(name), node)
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno not in _OF_NAMES:
                raise
            self._refused = path + b"/" if node.is_directory else None
            self.left_out[_REFUSED] += 1

    def _make_directory(self, parent: bytes, name: bytes, node: Node) -> None:
        """Make it, and be there."""
        if self._at is None:
            self._at = _Directory("", node, None)
            return
        self._go_to(parent)
        made = _Directory(os.fsdecode(name), node, self._at)
        below = self._open.make(made.name)
        self._at.inner.append(made)
        self._enter(below, made)
        self._path = parent + b"/" * bool(parent) + name

    def _write(self, parent: bytes, name: str, node: Node) -> None:
        """Anything but a directory."""
        self._go_to(parent)
        assert self._at is not None
        if node.nlink > 1 and (first := self._linked.get(node.place)):
            path = first[0].path
            self._open.link(name, self._top, path + "/" * bool(path) + first[1])
            return
        if node.is_file:
            self._write_file(name, node)
        elif kind := self._make_special(name, node):
            self.left_out[kind] += 1
            return
        else:
            self._describe_name(name, node)
        if node.nlink > 1:
            self._linked[node.place] = self._at, name

    def _make_special(self, name: str, node: Node) -> str:
        """A symlink, pipe or device; what it is where it is not to be had."""
        if node.kind is InodeType.SYMLINK:
            return "" if self._open.symlink(node.target, name) else "symlinks"
        if node.kind is InodeType.FIFO:
            return "" if self._open.special(name, stat.S_IFIFO) else "pipes"
        may_make = node.kind in _DEVICE_TYPES and self._as_root and self._privileged
        if may_make and self._open.special(name, _DEVICE_TYPES[node.kind], node.device):
            return ""
        hint = f" ({_HINT})" if node.kind in _DEVICE_TYPES and self._as_root else ""
        return f"devices and sockets{hint}"

    def describe_directories(self, mode: int | None) -> None:
        """When all is there, since writing into a directory changes its time."""
        self._go_to(b"")
        while self._at is not None:
            if self._at.inner:
                inner = self._at.inner.pop()
                self._enter(self._open.enter(inner.name), inner)
                continue
            # The way up is taken before: the mode may forbid it afterwards.
            left, node = self._open.copy(), self._at.node
            try:
                is_top = self._at.parent is None
                if is_top:
                    self._at = None
                else:
                    self._leave()
                self._describe(left.target, node, mode if is_top else None)
            finally:
                left.close()

    def _go_to(self, path: bytes) -> None:
        """Up to a directory on the way; its time has not come yet."""
        while self._path != path:
            self._leave()

    def _enter(self, opened: OpenDirectory, directory: _Directory) -> None:
        self._open.close()
        self._open, self._at = opened, directory

    def _leave(self) -> None:
        assert self._at is not None and self._at.parent is not None
        above = self._at.parent
        # The top itself is ours alone, so nobody can have moved what is below it.
        parent = self._top.copy() if above.parent is None else self._open.parent()
        self._enter(parent, above)
        self._path = self._path.rpartition(b"/")[0]

    def _write_file(self, name: str, node: Node) -> None:
        descriptor = self._open.create(name, 0o600)
        is_held = self._open.descriptor is not None
        with open(descriptor, "wb", buffering=0) as file:
            for chunk in self._filesystem.content(node):
                if chunk.data is None:
                    file.seek(chunk.size, os.SEEK_CUR)
                else:
                    _write_all(descriptor, chunk.data)
            file.truncate(node.size)
            if is_held:
                self._describe(descriptor, node)
        if not is_held:
            self._describe(self._open.name(name), node)

    def _describe(self, target: Any, node: Node, mode: int | None = None) -> None:
        """Owner, attributes, mode and time, in the order in which the kernel forgets none."""
        if self._as_root:
            # The owner of the top directory may enter it, so if we set its mode, it is ours.
            if mode is None:
                change_owner(target, node.uid, node.gid)
        elif node.uid or node.gid:
            self.left_out["owners"] += 1
        self._set_attributes(target, node)
        if isinstance(target, int):
            os.chmod(target, self._mode(node) if mode is None else mode)  # noqa: PTH101
        else:
            self.left_out["modes"] += 1
        os.utime(target, (node.mtime, node.mtime))

    def _describe_name(self, name: str, node: Node) -> None:
        """The same for what cannot be opened."""
        at = self._open.descriptor
        if self._as_root:
            change_owner(name, node.uid, node.gid, dir_fd=at, follow_symlinks=False)
        elif node.uid or node.gid:
            self.left_out["owners"] += 1
        self._set_attributes(f"/proc/self/fd/{at}/{name}", node)
        if node.kind is not InodeType.SYMLINK:
            # No symlink stands there: the directory is ours alone, and the name just made.
            os.chmod(name, self._mode(node), dir_fd=at)
        os.utime(name, (node.mtime, node.mtime), dir_fd=at, follow_symlinks=False)

    def _mode(self, node: Node) -> int:
        if self._privileged or not node.mode & _SET_ID:
            return node.mode
        self.left_out[f"set-user-ID and set-group-ID bits ({_HINT})"] += 1
        return node.mode & ~_SET_ID

    def _set_attributes(self, target: Any, node: Node) -> None:
        setxattr = getattr(os, "setxattr", None)  # of Linux alone
        nofollow = {} if isinstance(target, int) else {"follow_symlinks": False}
        for name, value in self._filesystem.xattrs(node):
            hint = ""
            if self._privileged or not name.startswith(_PRIVILEGED_XATTRS):
                if setxattr:
                    with contextlib.suppress(OSError):
                        setxattr(target, name, value, **nofollow)
                        continue
            elif self._as_root:
                hint = f" ({_HINT})"
            shown = f"{name.decode('utf-8', 'backslashreplace')}{hint}"
            self.left_out[named(self.left_out, "extended attributes", shown)] += 1


def _write_all(descriptor: int, data: bytes) -> None:
    """write(2) may take a part only, as where the disk is full."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
