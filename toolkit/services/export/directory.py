"""The tree of a payload as a directory: as root with owners, as a user without.

Nothing is ever written through a path: every name is made in a directory that is held open, and
every directory on the way was created here a moment before.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field

from toolkit.files.atomic_directory import make_directory
from toolkit.files.disk_space import check_room
from toolkit.layers.notes import named
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.structs import InodeType, MetadataRef

_DEVICE_TYPES = {InodeType.BLOCK_DEVICE: stat.S_IFBLK, InodeType.CHAR_DEVICE: stat.S_IFCHR}
_SET_ID = stat.S_ISUID | stat.S_ISGID
_PRIVILEGED_XATTRS = b"security."
_HINT = "--privileged-files keeps them"


def write_tree(
    filesystem: Filesystem, top: Node, directory: int, *, privileged: bool, mode: int | None = None
) -> Counter[str]:
    """Fill an empty open directory with what is in `top`, and give it `top`'s own attributes.

    Without `privileged` device nodes, set-id bits and attributes such as file capabilities are
    left out: they would give rights on this machine that the image alone decides on. `mode` takes
    the place of `top`'s own. Returns what could not be kept, by kind. Raises DockercError when the
    disk has no room for it, OSError for what else fails.
    """
    check_tree_room(filesystem, top, directory)
    writer = _Writer(filesystem, directory, privileged)
    try:
        for path, node in filesystem.walk(top):
            parent, _, name = path.rpartition(b"/")
            if node.is_directory:
                writer.make_directory(parent, name, node)
            else:
                writer.write(parent, name, node)
        writer.describe_directories(mode)
    finally:
        writer.close()
    return writer.left_out


def check_tree_room(filesystem: Filesystem, top: Node, file: int) -> None:
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
    check_room("its files", needed, file)


@dataclass(eq=False)
class _Directory:
    """A directory that was made: to be described at the end, deepest first."""

    name: bytes
    node: Node
    parent: _Directory | None
    inner: list[_Directory] = field(default_factory=list)

    @property
    def path(self) -> bytes:
        """From the top."""
        names, at = [], self
        while at.parent is not None:
            names.append(at.name)
            at = at.parent
        return b"/".join(reversed(names))


class _Writer:
    """Makes names in one open directory at a time; trees are deeper than descriptors are many."""

    def __init__(self, filesystem: Filesystem, top: int, privileged: bool) -> None:
        self.left_out: Counter[str] = Counter()
        self._filesystem, self._privileged = filesystem, privileged
        self._as_root = os.geteuid() == 0
        self._linked: dict[MetadataRef, tuple[_Directory, bytes]] = {}
        self._top, self._open = top, os.dup(top)
        self._path = b""
        self._at: _Directory | None = None

    def close(self) -> None:
        os.close(self._open)

    def make_directory(self, parent: bytes, name: bytes, node: Node) -> None:
        """Make it, and be there; the first is the top, which is there already."""
        if self._at is None:
            self._at = _Directory(b"", node, None)
            return
        self._go_to(parent)
        made = _Directory(name, node, self._at)
        self._at.inner.append(made)
        below = make_directory(self._open, os.fsdecode(name))
        self._enter(below, made)
        self._path = parent + b"/" * bool(parent) + name

    def write(self, parent: bytes, name: bytes, node: Node) -> None:
        """Anything but a directory."""
        self._go_to(parent)
        assert self._at is not None
        if node.nlink > 1:
            if first := self._linked.get(node.place):
                path = first[0].path
                source = path + b"/" * bool(path) + first[1]
                ends = {"src_dir_fd": self._top, "dst_dir_fd": self._open}
                os.link(source, name, follow_symlinks=False, **ends)
                return
            self._linked[node.place] = self._at, name
        if node.is_file:
            self._write_file(name, node)
            return
        if node.kind is InodeType.SYMLINK:
            os.symlink(node.target, name, dir_fd=self._open)
        elif node.kind is InodeType.FIFO:
            os.mkfifo(name, 0o600, dir_fd=self._open)
        elif node.kind in _DEVICE_TYPES and self._as_root and self._privileged:
            device = os.makedev(*node.device)
            os.mknod(name, 0o600 | _DEVICE_TYPES[node.kind], device, dir_fd=self._open)
        else:
            self._linked.pop(node.place, None)
            hint = f" ({_HINT})" if node.kind in _DEVICE_TYPES and self._as_root else ""
            self.left_out[f"devices and sockets{hint}"] += 1
            return
        self._describe_name(name, node)

    def describe_directories(self, mode: int | None) -> None:
        """When all is there, since writing into a directory changes its time."""
        self._go_to(b"")
        while self._at is not None:
            if self._at.inner:
                inner = self._at.inner.pop()
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                self._enter(os.open(inner.name, flags, dir_fd=self._open), inner)
                continue
            # The way up is taken before: the mode may forbid it afterwards.
            left, node = os.dup(self._open), self._at.node
            try:
                is_top = self._at.parent is None
                if is_top:
                    self._at = None
                else:
                    self._leave()
                self._describe(left, node, mode if is_top else None)
            finally:
                os.close(left)

    def _go_to(self, path: bytes) -> None:
        """Up to a directory on the way; its time has not come yet."""
        while self._path != path:
            self._leave()

    def _enter(self, descriptor: int, directory: _Directory) -> None:
        os.close(self._open)
        self._open, self._at = descriptor, directory

    def _leave(self) -> None:
        assert self._at is not None and self._at.parent is not None
        above = self._at.parent
        flags = os.O_RDONLY | os.O_DIRECTORY
        # The top itself is ours alone, so nobody can have moved what is below it.
        parent = os.dup(self._top) if above.parent is None else None
        self._enter(os.open("..", flags, dir_fd=self._open) if parent is None else parent, above)
        self._path = self._path.rpartition(b"/")[0]

    def _write_file(self, name: bytes, node: Node) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(name, flags, 0o600, dir_fd=self._open)
        with open(descriptor, "wb", buffering=0) as file:
            for chunk in self._filesystem.content(node):
                if chunk.data is None:
                    file.seek(chunk.size, os.SEEK_CUR)
                else:
                    _write_all(descriptor, chunk.data)
            file.truncate(node.size)
            self._describe(descriptor, node)

    def _describe(self, descriptor: int, node: Node, mode: int | None = None) -> None:
        """Owner, attributes, mode and time, in the order in which the kernel forgets none."""
        if self._as_root:
            # The owner of the top directory may enter it, so if we set its mode, it is ours.
            if mode is None:
                os.fchown(descriptor, node.uid, node.gid)
        elif node.uid or node.gid:
            self.left_out["owners"] += 1
        self._set_attributes(descriptor, node)
        os.fchmod(descriptor, self._mode(node) if mode is None else mode)
        os.utime(descriptor, (node.mtime, node.mtime))

    def _describe_name(self, name: bytes, node: Node) -> None:
        """The same for what cannot be opened."""
        if self._as_root:
            os.chown(name, node.uid, node.gid, dir_fd=self._open, follow_symlinks=False)
        elif node.uid or node.gid:
            self.left_out["owners"] += 1
        self._set_attributes(os.fsencode(f"/proc/self/fd/{self._open}/") + name, node)
        if node.kind is not InodeType.SYMLINK:
            # No symlink stands there: the directory is ours alone, and the name just made.
            os.chmod(name, self._mode(node), dir_fd=self._open)
        times = node.mtime, node.mtime
        os.utime(name, times, dir_fd=self._open, follow_symlinks=False)

    def _mode(self, node: Node) -> int:
        if self._privileged or not node.mode & _SET_ID:
            return node.mode
        self.left_out[f"set-user-ID and set-group-ID bits ({_HINT})"] += 1
        return node.mode & ~_SET_ID

    def _set_attributes(self, file: int | bytes, node: Node) -> None:
        for name, value in self._filesystem.xattrs(node):
            hint = ""
            if self._privileged or not name.startswith(_PRIVILEGED_XATTRS):
                try:
                    if isinstance(file, int):
                        os.setxattr(file, name, value)
                    else:
                        os.setxattr(file, name, value, follow_symlinks=False)
                    continue
                except OSError:
                    pass
            elif self._as_root:
                hint = f" ({_HINT})"
            shown = f"{name.decode('utf-8', 'backslashreplace')}{hint}"
            self.left_out[named(self.left_out, "extended attributes", shown)] += 1


def _write_all(descriptor: int, data: bytes) -> None:
    """write(2) may take a part only, as where the disk is full."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
