"""The tree that a squashfs is written from: inodes, and the directories that name them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.errors import RefusedError
from toolkit.files.printable import show
from toolkit.limits import MAX_DEPTH
from toolkit.squashfs.structs import InodeType

_MAX_SYMLINKS = 40
"""As many as the kernel follows in one path (path_resolution(7))."""


@dataclass(slots=True, frozen=True)
class Content:
    """A regular file's bytes in its pack: whole blocks, then perhaps a place in a fragment.

    `digest` tells equal files apart from others; `pack` is the pack's number in the image.
    `fragment` is a block number too, or -1.
    """

    size: int
    digest: bytes
    pack: int
    first_block: int
    blocks: int
    fragment: int
    fragment_offset: int


EMPTY = Content(0, b"", 0, 0, 0, -1, 0)


@dataclass(slots=True, eq=False)
class Inode:
    """A file of any type. `children` is the listing of a directory, None for all others."""

    kind: InodeType
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    content: Content = EMPTY
    children: dict[bytes, Inode] | None = None


def new_directory(mode: int = 0o755) -> Inode:
    """An empty directory of root's."""
    return Inode(InodeType.DIRECTORY, mode, children={})


def walk(root: Inode) -> Iterator[Inode]:
    """Every name's inode, directories before what is in them, names in byte order."""
    waiting = [root]
    while waiting:
        inode = waiting.pop()
        yield inode
        if inode.children is not None:
            waiting += [child for _, child in sorted(inode.children.items(), reverse=True)]


def look_up(root: Inode, path: bytes, *, create: bool = False, last: bool = True) -> Inode | None:
    """The inode at `path` (no `..`), symlinks followed inside the root; None where there is none.

    With `create`, directories that are missing, or hidden behind something that is neither a
    directory nor a symlink to one, are made. `last` tells whether a symlink at the end is followed.
    Raises DockercError on a loop of symlinks, and before making what is too deep.
    """
    trail = [root]
    parts = [part for part in reversed(path.split(b"/")) if part]
    followed = 0
    while parts:
        part = parts.pop()
        if part == b".":
            continue
        if part == b"..":
            del trail[max(1, len(trail) - 1) :]
            continue
        children = trail[-1].children
        assert children is not None
        child = children.get(part)
        if child is not None and child.kind is InodeType.SYMLINK and (parts or last):
            followed += 1
            if followed > _MAX_SYMLINKS:
                raise RefusedError(f"the path {show(path)} runs through a loop of symlinks")
            if child.target.startswith(b"/"):
                del trail[1:]
            parts += [part for part in reversed(child.target.split(b"/")) if part]
            continue
        if child is None or (child.children is None and (parts or create)):
            if not create:
                return None
            child = children[part] = new_directory()
        if not parts and child.children is None:
            return child
        trail.append(child)
        if create and len(trail) > MAX_DEPTH:
            raise RefusedError(f"{show(path)} is more than {MAX_DEPTH} directories deep")
    return trail[-1]
