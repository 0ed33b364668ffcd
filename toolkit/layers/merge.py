"""Packs become one tree: OCI image-spec layer.md, "Applying Changesets", as umoci applies them."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.errors import DockercError, about
from toolkit.layers.entry import Entry, EntryKind
from toolkit.layers.pack import Pack
from toolkit.layers.tree import Inode, look_up, new_directory
from toolkit.squashfs.structs import InodeType


def merge(packs: Sequence[Pack]) -> Inode:
    """The root directory of the image: every pack applied over those below it.

    Raises DockercError on a hard link without a target and on a loop of symlinks.
    """
    root = new_directory()
    for number, pack in enumerate(packs):
        with about(f"layer {number + 1}/{len(packs)}"):
            _apply_pack(root, pack)
    return root


def _apply_pack(root: Inode, pack: Pack) -> None:
    # Whiteouts hide what lies below, never what their own layer brings, wherever they stand.
    for entry in pack.entries:
        if entry.kind in (EntryKind.WHITEOUT, EntryKind.OPAQUE):
            _hide(root, entry)
    for entry in pack.entries:
        if entry.kind not in (EntryKind.WHITEOUT, EntryKind.OPAQUE):
            _apply(root, entry)


def _hide(root: Inode, entry: Entry) -> None:
    if entry.kind is EntryKind.OPAQUE:
        directory = look_up(root, entry.path)
        if directory is not None and directory.children is not None:
            directory.children.clear()
        return
    parent, _, name = entry.path.rpartition(b"/")
    directory = look_up(root, parent)
    if directory is not None and directory.children is not None:
        directory.children.pop(name, None)


def _apply(root: Inode, entry: Entry) -> None:
    if not entry.path:
        _describe(root, entry)
        return
    parent, _, name = entry.path.rpartition(b"/")
    directory = look_up(root, parent, create=True)
    assert directory is not None and directory.children is not None
    there = directory.children.get(name)
    if entry.kind is EntryKind.HARD_LINK:
        directory.children[name] = _link_target(root, entry)
    elif entry.kind is EntryKind.DIRECTORY and there is not None and there.children is not None:
        _describe(there, entry)
    else:
        inode = Inode(InodeType(int(entry.kind)), entry.mode)
        if entry.kind is EntryKind.DIRECTORY:
            inode.children = {}
        _describe(inode, entry)
        directory.children[name] = inode


def _link_target(root: Inode, entry: Entry) -> Inode:
    # The link's own name may stand for the old file until the very moment it is replaced.
    target = look_up(root, entry.target, last=False)
    if target is None or target.children is not None:
        path, link = (n.decode("utf-8", "backslashreplace") for n in (entry.path, entry.target))
        raise DockercError(f"its hard link {path} leads to {link}, which is no file of the image")
    return target


def _describe(inode: Inode, entry: Entry) -> None:
    inode.mode, inode.uid, inode.gid = entry.mode, entry.uid, entry.gid
    inode.mtime, inode.xattrs = entry.mtime, entry.xattrs
    inode.target, inode.device, inode.content = entry.target, entry.device, entry.content
