"""The files of an image that no executable was made of: its layers are packed and merged."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import about
from toolkit.images.source import Image
from toolkit.layers.merge import merge
from toolkit.services.cache import Cache
from toolkit.services.image_names import prune, remember
from toolkit.services.pack_layers import Packing, Parameters
from toolkit.services.progress import Progress
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.structs import InodeType, MetadataRef
from toolkit.squashfs.tree import Inode, look_up

_NOWHERE = MetadataRef(0, 0)


class ImageTree:
    """Nodes as `Filesystem` has them, of a tree that is in memory."""

    def __init__(self, root: Inode) -> None:
        self._root = root
        self._links = _count_links(root)

    def find(self, path: bytes) -> Inode | None:
        """What is at a path of the image, symlinks followed inside of it; None when nothing is."""
        parts = [part for part in path.split(b"/") if part]
        return look_up(self._root, b"/".join(parts))

    def list(self, top: Inode, *, recursive: bool) -> Iterator[tuple[bytes, Node]]:
        """`top` itself, named b"", and what is in it, with `recursive` at any depth."""
        yield b"", self.node(top)
        waiting = [(name, child) for name, child in _children(top)][::-1]
        while waiting:
            path, inode = waiting.pop()
            yield path, self.node(inode)
            if recursive:
                inner = [(path + b"/" + name, child) for name, child in _children(inode)]
                waiting += inner[::-1]

    def node(self, inode: Inode) -> Node:
        """As it would be read from an executable, but for places."""
        return Node(
            _NOWHERE, inode.kind, inode.mode, inode.uid, inode.gid, inode.mtime, 0,
            self._links[inode], inode.content.size, target=inode.target, device=inode.device,
        )  # fmt: skip


def image_tree(image: Image, cache: Cache | None, progress: Progress) -> ImageTree:
    """The merged tree; its layers' packs stay in the cache. Raises DockercError."""
    with (
        Packing(Parameters(), cache, Path(tempfile.gettempdir())) as packing,
        about(image.reference),
    ):
        tree = ImageTree(merge(packing.pack_layers(image, progress)))
    if cache:
        remember(cache, image)
        prune(cache)
    return tree


def _children(inode: Inode) -> list[tuple[bytes, Inode]]:
    return sorted((inode.children or {}).items())


def _count_links(root: Inode) -> Counter[Inode]:
    """The names of each inode; of a directory, its own and those that are in it of its parent."""
    links: Counter[Inode] = Counter({root: 2})
    waiting = [root]
    while waiting:
        inode = waiting.pop()
        for child in (inode.children or {}).values():
            links[child] += 1
            if child.kind is InodeType.DIRECTORY:
                links[child] += 1
                links[inode] += 1
                waiting.append(child)
    return links
