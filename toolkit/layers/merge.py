"""Packs become one tree: OCI image-spec layer.md, "Applying Changesets", as umoci applies them."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.errors import DamagedError, about
from toolkit.files.printable import show
from toolkit.layers.entry import Entry, EntryKind
from toolkit.layers.pack import Pack
from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.tree import Inode, look_up, new_directory


def merge(packs: Sequence[Pack]) -> Inode:
    """The root directory of the image: every pack applied over those below it.

    Raises DockercError on a hard link without a target and on a loop of symlinks.
    """
    root = new_directory()
    for number, pack in enumerate(packs):
        with about(f"layer {number + 1}/{len(packs)}"):
            apply_pack(root, pack)
    return root


_WHITEOUTS = (EntryKind.WHITEOUT, EntryKind.OPAQUE)


def apply_pack(root: Inode, pack: Pack) -> None:
    """One pack over what is there; raises DockercError as above."""
    # Whiteouts hide what lies below, never what their own layer has brought so far; only a layer
    # that has some need remember that.
    brought: set[tuple[Inode, bytes]] | None = None
    swept: set[Inode] = set()
    if any(entry.kind in _WHITEOUTS for entry in pack.entries):
        brought = set()
    for entry in pack.entries:
        if brought is not None and entry.kind in _WHITEOUTS:
            _hide(root, entry, brought, swept)
        else:
            directory, name = _apply(root, entry)
            if brought is not None:
                brought.add((directory, name))


def _hide(root: Inode, entry: Entry, brought: set[tuple[Inode, bytes]], swept: set[Inode]) -> None:
    """`swept` are directories that hold nothing from below any more: to go through them once more
    would be vain, and for thousands of whiteouts endless."""
    if entry.kind is EntryKind.OPAQUE:
        directory = look_up(root, entry.path)
        if directory is None or directory.children is None or directory in swept:
            return
        swept.add(directory)
        for name in list(directory.children):
            _prune(directory, name, brought, swept)
        return
    parent, _, name = entry.path.rpartition(b"/")
    directory = look_up(root, parent)
    if directory is not None and directory.children is not None and name in directory.children:
        _prune(directory, name, brought, swept)


def _prune(
    directory: Inode, name: bytes, brought: set[tuple[Inode, bytes]], swept: set[Inode]
) -> None:
    """Remove this name and all below it, but what was brought and the way to it."""
    # Parents before children, so that backwards a directory comes after what is in it.
    order = [(directory, name)]
    for parent, child in order:
        inode = _children(parent)[child]
        if inode.children is not None and inode not in swept:
            swept.add(inode)
            order += [(inode, below) for below in inode.children]
    for parent, child in reversed(order):
        if (parent, child) not in brought and not _children(parent)[child].children:
            del _children(parent)[child]


def _children(directory: Inode) -> dict[bytes, Inode]:
    assert directory.children is not None
    return directory.children


def _apply(root: Inode, entry: Entry) -> tuple[Inode, bytes]:
    """Apply one entry; returns the directory and the name where it now is."""
    if not entry.path:
        _describe(root, entry)
        return root, b""
    parent, _, name = entry.path.rpartition(b"/")
    directory = look_up(root, parent, create=True)
    assert directory is not None
    children = _children(directory)
    there = children.get(name)
    if entry.kind is EntryKind.HARD_LINK:
        children[name] = _link_target(root, entry)
    elif entry.kind is EntryKind.DIRECTORY and there is not None and there.children is not None:
        _describe(there, entry)
    else:
        inode = Inode(InodeType(int(entry.kind)), entry.mode)
        if entry.kind is EntryKind.DIRECTORY:
            inode.children = {}
        _describe(inode, entry)
        children[name] = inode
    return directory, name


def _link_target(root: Inode, entry: Entry) -> Inode:
    # The link's own name may stand for the old file until the very moment it is replaced.
    target = look_up(root, entry.target, last=False)
    if target is None or target.children is not None:
        path, link = show(entry.path), show(entry.target)
        raise DamagedError(f"its hard link {path} leads to {link}, which is no file of the image")
    return target


def _describe(inode: Inode, entry: Entry) -> None:
    inode.mode, inode.uid, inode.gid = entry.mode, entry.uid, entry.gid
    inode.mtime, inode.xattrs = entry.mtime, entry.xattrs
    inode.target, inode.device, inode.content = entry.target, entry.device, entry.content
